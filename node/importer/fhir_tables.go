package importer

const (
	dpv       = "https://w3id.org/dpv#"
	dpvHealth = "https://w3id.org/dpv/sector/health#"

	actReason     = "http://terminology.hl7.org/CodeSystem/v3-ActReason#"
	consentAction = "http://terminology.hl7.org/CodeSystem/consentaction#"

	// AnyData is module consent's category that stands for every category.
	AnyData = dpv + "PersonalData"
	// Treatment is the purpose that v3-ActReason's TREAT becomes.
	Treatment = dpv + "MedicalCare"
	// EmergencyTreatment is the purpose that v3-ActReason's ETREAT becomes.
	EmergencyTreatment = dpvHealth + "EmergencyCareManagement"
	// Research is the purpose that v3-ActReason's HRESCH becomes.
	Research = dpvHealth + "ResearchDevelopment"
)

// purposes are the codes of HL7 v3-ActReason that a purpose of W3C DPV equals by
// definition. A narrower code must not become a wider purpose, so any other code
// stays itself: system#code.
var purposes = map[string]string{
	actReason + "TREAT":  Treatment,
	actReason + "ETREAT": EmergencyTreatment,
	actReason + "HRESCH": Research,
}

// processing are the codes of FHIR's consentaction with W3C DPV's processing.
var processing = map[string]string{
	consentAction + "collect":  dpv + "Collect",
	consentAction + "access":   dpv + "Access",
	consentAction + "use":      dpv + "Use",
	consentAction + "disclose": dpv + "Disclose",
	consentAction + "correct":  dpv + "Alter",
}

// scopes are the codes of FHIR's consentscope with the purpose that a consent of
// that scope is read to have when it names none: the narrowest reading.
var scopes = map[string]string{
	"treatment":       Treatment,
	"patient-privacy": Treatment,
	"adr":             Treatment,
	"research":        Research,
}

const confidentiality = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"

// confidentialities are its codes from low to high.
var confidentialities = []string{
	confidentiality + "#U", confidentiality + "#L", confidentiality + "#M",
	confidentiality + "#N", confidentiality + "#R", confidentiality + "#V",
}

// bases are the policy rules that say what holds unless a rule says otherwise.
var bases = map[string]string{
	"OPTIN": Permit, "OPTINR": Permit,
	"OPTOUT": Deny, "OPTOUTE": Deny,
}
