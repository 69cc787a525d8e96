package threat

import (
	"bytes"
	"testing"

	"github.com/chancery/chancery/chain/chaintest"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

func TestRollBack(t *testing.T) {
	d := newDesk(t)
	one, two, three := d.registers(rawDetector(t, "one")), d.registers(rawDetector(t, "two")), d.registers(rawDetector(t, "three"))
	d.Fails(ErrNotConsortium, house, &threatv1.RollBack{})
	d.Fails(ErrNoPrevious, chaintest.Consortium, &threatv1.RollBack{})
	d.moves(one, shadowStage, activeStage)
	d.Fails(ErrNoPrevious, chaintest.Consortium, &threatv1.RollBack{}) // there was none
	d.moves(two, shadowStage, activeStage)
	d.moves(three, shadowStage)
	at := d.Height() + 10
	d.Do(chaintest.Consortium, &threatv1.SetModelStage{Hash: three, Stage: activeStage, AtHeight: at})

	r := d.Do(chaintest.Consortium, &threatv1.RollBack{})
	if got := chaintest.Response[threatv1.RollBackResponse](t, r).Active; !bytes.Equal(got, one) {
		t.Fatalf("active %x", got)
	}
	if e := chaintest.Events[threatv1.ModelStaged](t, r); len(e) != 2 || e[0].Model.Name != "two" || e[0].Model.Stage != registeredStage || e[1].Model.Name != "one" || e[1].Model.Since != d.Height()+1 {
		t.Fatalf("events %v", e)
	}
	d.wantStage(one, activeStage)
	d.wantStage(two, registeredStage)
	d.wantStage(three, shadowStage)
	d.CheckGenesis()
	d.Fails(ErrNoPrevious, chaintest.Consortium, &threatv1.RollBack{}) // one step
	for d.Height() < at {
		d.Block()
	}
	d.wantStage(one, activeStage) // what waited does so no more
}

func TestRollBackToOneThatIsGone(t *testing.T) {
	d := newDesk(t)
	one, two := d.registers(rawDetector(t, "one")), d.registers(rawDetector(t, "two"))
	d.moves(one, shadowStage, activeStage)
	d.moves(two, shadowStage, activeStage)
	d.moves(one, retiredStage)
	d.Fails(ErrNoPrevious, chaintest.Consortium, &threatv1.RollBack{})
}

// The one before may be in shadow by now.
func TestRollBackToOneInShadow(t *testing.T) {
	d := newDesk(t)
	one, two := d.registers(rawDetector(t, "one")), d.registers(rawDetector(t, "two"))
	d.moves(one, shadowStage, activeStage)
	d.moves(two, shadowStage, activeStage)
	d.moves(one, shadowStage)
	d.Do(chaintest.Consortium, &threatv1.RollBack{})
	d.wantStage(one, activeStage)
	if s := d.m.scheduleIn(d.View()); len(s.Shadow) != 0 {
		t.Fatalf("schedule %v", s)
	}
}
