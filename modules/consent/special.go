package consent

import "slices"

// special are the terms of W3C DPV and its extension PD that are special
// categories in the sense of GDPR Art. 9(1) by their meaning, and the term for any
// data at all, which includes them. Sorted. Terms of other vocabularies are as
// special as the record says.
var special = []string{
	AnyData,
	"https://w3id.org/dpv#SpecialCategoryPersonalData",
	"https://w3id.org/dpv/pd#Biometric",
	"https://w3id.org/dpv/pd#DNACode",
	"https://w3id.org/dpv/pd#Disability",
	"https://w3id.org/dpv/pd#DrugTestResult",
	"https://w3id.org/dpv/pd#EthnicOrigin",
	"https://w3id.org/dpv/pd#Ethnicity",
	"https://w3id.org/dpv/pd#FacialPrint",
	"https://w3id.org/dpv/pd#FamilyHealthHistory",
	"https://w3id.org/dpv/pd#Fingerprint",
	"https://w3id.org/dpv/pd#Genetic",
	"https://w3id.org/dpv/pd#Health",
	"https://w3id.org/dpv/pd#HealthHistory",
	"https://w3id.org/dpv/pd#HealthRecord",
	"https://w3id.org/dpv/pd#IndividualHealthHistory",
	"https://w3id.org/dpv/pd#MedicalHealth",
	"https://w3id.org/dpv/pd#MentalHealth",
	"https://w3id.org/dpv/pd#PhilosophicalBelief",
	"https://w3id.org/dpv/pd#PhysicalHealth",
	"https://w3id.org/dpv/pd#PoliticalAffiliation",
	"https://w3id.org/dpv/pd#PoliticalOpinion",
	"https://w3id.org/dpv/pd#Prescription",
	"https://w3id.org/dpv/pd#Race",
	"https://w3id.org/dpv/pd#Religion",
	"https://w3id.org/dpv/pd#ReligiousBelief",
	"https://w3id.org/dpv/pd#Retina",
	"https://w3id.org/dpv/pd#Sexual",
	"https://w3id.org/dpv/pd#SexualHistory",
	"https://w3id.org/dpv/pd#SexualPreference",
	"https://w3id.org/dpv/pd#TradeUnionMembership",
}

func isSpecial(iri string) bool {
	_, ok := slices.BinarySearch(special, iri)
	return ok
}
