package storage

import "testing"

func TestSoundParts(t *testing.T) {
	var s sound
	if !s.covers(0, 1<<30) {
		t.Error("a file of this process's own is in doubt")
	}
	s.inherit(1000)
	type part struct{ from, to int64 }
	expect := func(when string, yes, no []part) {
		t.Helper()
		for _, p := range yes {
			if !s.covers(p.from, p.to) {
				t.Errorf("%s: [%d, %d) is in doubt", when, p.from, p.to)
			}
		}
		for _, p := range no {
			if s.covers(p.from, p.to) {
				t.Errorf("%s: [%d, %d) is trusted", when, p.from, p.to)
			}
		}
	}
	expect("inherited", []part{{1000, 2000}, {1500, 1501}}, []part{{0, 10}, {999, 1001}})
	s.checked(100, 200)
	expect("a part was checked", []part{{100, 200}, {150, 160}, {1000, 1001}}, []part{{99, 101}, {100, 201}, {150, 1001}})
	s.checked(150, 400)
	s.checked(400, 500)
	expect("more was", []part{{100, 500}}, []part{{100, 501}})
	s.checked(700, 1000)
	expect("another part was", []part{{700, 1000}, {700, 5000}, {800, 1200}}, []part{{699, 700}, {100, 200}})
}
