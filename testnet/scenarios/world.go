package scenarios

import (
	"fmt"
	"math/rand/v2"
	"strconv"

	"github.com/chancery/chancery/modules/consent/commitment"
	"github.com/chancery/chancery/modules/identity"
	"github.com/chancery/chancery/modules/identity/did"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

// trade is what an organisation does.
type trade uint8

const (
	hospital trade = iota
	laboratory
	insurer
	institute
	registry
	logistics
)

// job is what a member does. Its name is also its role, where it has one.
type job string

const (
	nurse      job = "nurse"
	doctor     job = "physician"
	clerk      job = "clerk"
	reviewer   job = "reviewer"
	steward    job = "policy-admin"
	admission  job = "entity-admin" // a service that registers records
	enforcer   job = "pep"          // a service that asks for others
	migration  job = "migration"    // a service that takes consents over from older systems
	archive    job = "archive"      // a service that records provenance
	monitor    job = "monitor"      // a device at a bedside
	analyst    job = "analyst"
	quality    job = "quality"
	analyser   job = "analyser" // a device that measures samples
	adjuster   job = "adjuster"
	collector  job = "collector" // a service that reads in bulk at set times
	researcher job = "researcher"
	dispatcher job = "dispatcher"
	sensor     job = "sensor" // a device on a vehicle
	patient    job = "patient"
)

// roles are those that a job comes with.
func (j job) roles() []string {
	switch j {
	case nurse, doctor:
		return []string{"clinician"}
	case clerk:
		return []string{"clerk", "consent-officer"}
	case migration:
		return []string{"consent-officer"}
	case patient, monitor, sensor, analyser, archive:
		return nil
	}
	return []string{string(j)}
}

func (j job) kind() identityv1.Kind {
	switch j {
	case admission, enforcer, migration, archive, collector:
		return identityv1.Kind_KIND_SERVICE
	case monitor, analyser, sensor:
		return identityv1.Kind_KIND_DEVICE
	}
	return identityv1.Kind_KIND_PERSON
}

func (j job) rota() rota {
	switch j {
	case nurse:
		return wardShifts
	case doctor:
		return physician
	case analyst, dispatcher:
		return rotating
	}
	return office
}

// organisation is a member organisation.
type organisation struct {
	trade     trade
	did, slug string
	tag       string // of the names that it gives, so that two plans on one chain do not clash
	admins    []Holder
	needed    int
	registrar Holder

	staff    []*actor // all members but administrators and registrar, in order of joining
	wards    int
	subjects []*subject // of a hospital: who has a record
	datasets []string   // ids of data sets
	files    files      // provenance that it registered lately
	policies int        // edition of its policies
	joined   int        // members that were ever registered
}

// actor is a member that acts by its own key.
type actor struct {
	did  string
	of   *organisation
	job  job
	ward int
	// phase sets its rota off from that of others.
	phase int
	key   int // number of its key
	gone  bool
	r     *rand.Rand
	// mine are the subjects that it saw most lately.
	mine []*subject
}

func (a *actor) keyURL() string { return did.URL(a.did, keyName(a.key)) }

func keyName(n int) string { return "key-" + strconv.Itoa(n) }

// subject is somebody whose record a hospital has.
type subject struct {
	commitment []byte
	record     string
	ward       int
	inside     bool // in the hospital at present
	noted      bool // known to the public
	own        *actor
	consents   []*agreement
	restricted []byte // stand-in of a restriction that holds
}

// agreement is a consent that a subject gave.
type agreement struct {
	id       []byte // stand-in
	purposes []string
	narrowed bool
}

// world is who there is.
type world struct {
	o             *Options
	calendar      calendar
	organisations []*organisation
	railsEdition  int
}

// names of the organisations, in order.
var names = []struct {
	slug  string
	trade trade
}{
	{"mercy-hospital", hospital}, {"northside-laboratory", laboratory}, {"common-insurance", insurer}, {"lakeside-hospital", hospital},
	{"research-institute", institute}, {"cancer-registry", registry}, {"cold-chain-logistics", logistics},
}

func newWorld(o Options) *world {
	w := &world{o: &o, calendar: newCalendar(o.Start, o.Days, stream(o.Seed, "calendar"))}
	r := stream(o.Seed, "world")
	later := []int{4, 5, 6}
	r.Shuffle(len(later), func(i, k int) { later[i], later[k] = later[k], later[i] })
	for i := range o.Organisations {
		n := names[i]
		if i >= 4 {
			n = names[later[i-4]]
		}
		org := &organisation{trade: n.trade, slug: n.slug, did: did.Organisation(n.slug)}
		if len(o.Sites) > 0 {
			s := o.Sites[i]
			parsed, err := did.Parse(s.Organisation)
			if err != nil {
				panic(fmt.Sprintf("scenarios: site %d: %v", i, err))
			}
			org.did, org.slug = s.Organisation, parsed.Slug()
			org.admins, org.needed, org.registrar = s.Administrators, s.Needed, s.Registrar
		} else {
			for k := range 3 {
				who := did.Member(n.slug, w.o.token("administrator", n.slug, strconv.Itoa(k)))
				org.admins = append(org.admins, Holder{who, did.URL(who, keyName(1))})
			}
			org.needed = 2
			who := did.Member(n.slug, "registrar")
			org.registrar = Holder{who, did.URL(who, keyName(1))}
		}
		org.tag = w.o.token("tag", org.slug)[:8]
		w.organisations = append(w.organisations, org)
		w.populate(org, r)
	}
	return w
}

// populate says who works in an organisation. The numbers are choices: small enough to
// simulate, large enough that people have peers.
func (w *world) populate(org *organisation, r *rand.Rand) {
	add := func(j job, n int) {
		for range n {
			w.join(org, j, r)
		}
	}
	switch org.trade {
	case hospital:
		org.wards = 5
		add(nurse, 16+r.IntN(6))
		add(doctor, 9+r.IntN(4))
		add(clerk, 4)
		add(reviewer, 2)
		for _, j := range []job{steward, admission, enforcer, migration, archive} {
			add(j, 1)
		}
		add(monitor, 5)
		for i := range 180 + r.IntN(60) {
			w.admit(org, i, r)
		}
		w.datasets(org, 6)
	case laboratory:
		add(analyst, 5)
		add(quality, 2)
		add(steward, 1)
		add(archive, 1)
		add(analyser, 4)
		w.datasets(org, 8)
	case insurer:
		add(adjuster, 7)
		add(collector, 1)
		add(steward, 1)
	case institute:
		add(researcher, 7)
		add(archive, 1)
		add(steward, 1)
		w.datasets(org, 5)
	case registry:
		add(researcher, 2)
		add(collector, 1)
		add(archive, 1)
		add(steward, 1)
	case logistics:
		add(dispatcher, 3)
		add(sensor, 7)
		add(archive, 1)
	}
}

func (w *world) datasets(org *organisation, n int) {
	for i := range n {
		org.datasets = append(org.datasets, "dataset-"+w.o.token("dataset", org.slug, strconv.Itoa(i))[:12])
	}
}

// join makes a member; g.enrol registers it.
func (w *world) join(org *organisation, j job, r *rand.Rand) *actor {
	n := strconv.Itoa(org.joined)
	org.joined++
	id := w.o.token("member", org.slug, n)
	if j.kind() != identityv1.Kind_KIND_PERSON {
		id = string(j) + "-" + id[:8]
	}
	a := &actor{did: org.did + ":" + id, of: org, job: j, phase: r.IntN(72), key: 1}
	if org.wards > 0 {
		a.ward = org.joined % org.wards
	}
	a.r = stream(w.o.Seed, "actor "+a.did)
	org.staff = append(org.staff, a)
	return a
}

// admit makes a subject with a record.
func (w *world) admit(org *organisation, n int, r *rand.Rand) *subject {
	salt := w.o.digest("salt", org.slug, strconv.Itoa(n))
	s := &subject{
		commitment: commitment.Commit(salt[:], []byte(strconv.Itoa(n))),
		record:     "record-" + w.o.token("record", org.slug, strconv.Itoa(n)),
		ward:       r.IntN(org.wards),
		inside:     chance(r, 0.35),
		noted:      chance(r, 0.03),
	}
	org.subjects = append(org.subjects, s)
	return s
}

// those are the members of an organisation with one of the jobs who are there.
func (org *organisation) those(jobs ...job) []*actor {
	var out []*actor
	for _, a := range org.staff {
		for _, j := range jobs {
			if a.job == j && !a.gone {
				out = append(out, a)
			}
		}
	}
	return out
}

// of are the organisations of a trade.
func (w *world) of(t trade) []*organisation {
	var out []*organisation
	for _, org := range w.organisations {
		if org.trade == t {
			out = append(out, org)
		}
	}
	return out
}

// founding is the genesis: organisations with administrators and registrars. All others
// are registered by the plan's first transactions.
func (w *world) founding() (identity.Founding, error) {
	if len(w.o.Sites) > 0 {
		return identity.Founding{}, fmt.Errorf("scenarios: the plan is for organisations that exist already")
	}
	f := identity.Founding{At: w.o.Start, Threshold: w.consortiumNeeded()}
	for _, org := range w.organisations {
		key := func(h Holder) []identity.FoundingKey {
			return []identity.FoundingKey{{ID: keyName(1), Public: w.o.signer(h.Key).Public()}}
		}
		consensus := w.o.signer("validator " + org.slug).Public()
		o := identity.Founder{
			DID: org.did, Threshold: uint32(org.needed),
			Validators: []identity.FoundingValidator{{PublicKey: consensus.Bytes, Power: 1, Moniker: org.slug}},
		}
		for _, h := range org.admins {
			o.Members = append(o.Members, identity.FoundingMember{
				DID: h.DID, Kind: identityv1.Kind_KIND_PERSON, Keys: key(h), Administrator: true,
			})
		}
		o.Members = append(o.Members, identity.FoundingMember{
			DID: org.registrar.DID, Kind: identityv1.Kind_KIND_SERVICE, Keys: key(org.registrar), Roles: []string{identity.RoleRegistrar},
		})
		f.Organisations = append(f.Organisations, o)
	}
	return f, nil
}

// consortiumNeeded is how many organisations act for the consortium: more than two
// thirds.
func (w *world) consortiumNeeded() uint32 { return uint32(len(w.organisations)*2/3 + 1) }
