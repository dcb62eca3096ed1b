package mix

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// Each party hears the others by their gains, and never itself.
func TestMixerMatrix(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var m Mixer
		n := rapid.IntRange(1, 6).Draw(t, "parties")
		voices := make([]int16, n)
		gains := make([][]int, n)
		for i := range n {
			if id, ok := m.Add(); id != i || !ok {
				t.Fatalf("party %d is %d, %v", i, id, ok)
			}
			voices[i] = rapid.Int16Range(-3000, 3000).Draw(t, "voice")
			for j := range m.In(i) {
				m.In(i)[j] = voices[i]
			}
		}
		for to := range n {
			gains[to] = make([]int, n)
			for from := range n {
				g := rapid.SampledFrom([]int{0, Unity, Unity, Unity / 2, 2 * Unity}).Draw(t, "gain")
				m.Set(to, from, g)
				if to != from {
					gains[to][from] = g
				}
			}
		}
		m.Mix() // in which the gains are reached
		m.Mix()
		for to := range n {
			want := 0
			for from, v := range voices {
				want += int(v) * gains[to][from] >> gainBits
			}
			if want > 28000 || want < -28000 {
				continue
			}
			for j, got := range m.Out(to) {
				if int(got) != want {
					t.Fatalf("party %d hears %d at %d, want %d", to, got, j, want)
				}
			}
		}
	})
}

// Parties come and go; who comes next has nothing of who was there.
func TestMixerPartiesComeAndGo(t *testing.T) {
	var m Mixer
	a, _ := m.Add()
	b, _ := m.Add()
	m.Set(a, b, Unity)
	m.Set(b, a, Unity)
	m.In(b)[0] = 5
	m.Mix()
	m.Remove(b)
	m.Mix()
	if *m.Out(a) != (Frame{}) {
		t.Error("one who has left is heard")
	}
	c, _ := m.Add()
	if c != b {
		t.Errorf("the place of one who has left is not used again: %d", c)
	}
	m.In(c)[0], m.In(a)[0] = 7, 7
	m.Mix()
	if *m.Out(a) != (Frame{}) || *m.Out(c) != (Frame{}) {
		t.Error("a newcomer has the gains of the one before")
	}
	for range MaxParties - 2 {
		if _, ok := m.Add(); !ok {
			t.Fatal("no room below MaxParties")
		}
	}
	if _, ok := m.Add(); ok {
		t.Error("more than MaxParties")
	}
}

// A gain is reached within a frame and without a step.
func TestMixerGainPasses(t *testing.T) {
	var m Mixer
	a, _ := m.Add()
	b, _ := m.Add()
	for i := range m.In(b) {
		m.In(b)[i] = 16000
	}
	m.Set(a, b, Unity)
	last := int16(0)
	for frame := range 2 {
		m.Mix()
		for _, v := range m.Out(a) {
			if v-last > 110 {
				t.Fatalf("a step from %d to %d", last, v)
			}
			last = v
		}
		if last != 16000 {
			t.Errorf("after frame %d the gain makes %d of 16000", frame, last)
		}
	}
}

// Sums that are too loud are bent, not wrapped around, and louder stays louder.
func TestSoftNeverWraps(t *testing.T) {
	last := int32(-32768)
	for v := int32(-MaxParties * 4 * 32768); v <= MaxParties*4*32767; v += 97 {
		s := int32(soft(v))
		if s < last {
			t.Fatalf("%d becomes %d, less than the one before", v, s)
		}
		if last = s; v > -28000 && v < 28000 && s != v {
			t.Fatalf("%d becomes %d", v, s)
		}
	}
}

func conference(n int) *Mixer {
	m := &Mixer{}
	said := sound(vowel).frames()
	for range n {
		m.Add()
	}
	for to := range n {
		*m.In(to) = said[to]
		for from := range n {
			m.Set(to, from, Unity)
		}
	}
	return m
}

func TestMixAllocatesNothing(t *testing.T) {
	m := conference(3)
	if n := testing.AllocsPerRun(100, m.Mix); n != 0 {
		t.Errorf("%v allocations a frame", n)
	}
}

func BenchmarkMix(b *testing.B) {
	for _, n := range []int{2, 3, 5} {
		b.Run(fmt.Sprintf("%d parties", n), func(b *testing.B) {
			m := conference(n)
			b.ReportAllocs()
			for b.Loop() {
				m.Mix()
			}
		})
	}
}
