package simtrunk_test

import (
	"math"
	"testing"
	"time"

	"dialer/amd"
	"dialer/telephony"
	"dialer/telephony/simtrunk"
)

// level is the loudness of 100 ms of audio, in dB of full scale.
func level(a simtrunk.Audio, at time.Duration) float64 {
	var sum float64
	for n := range 5 {
		var f telephony.Frame
		a(at+time.Duration(n)*telephony.FrameDuration, &f)
		for _, s := range f.Samples {
			sum += float64(s) * float64(s)
		}
	}
	return 20 * math.Log10(math.Sqrt(sum/800)/32768+1e-9)
}

func TestWhatPeopleAndMachinesSay(t *testing.T) {
	const s = time.Second
	human, machine := simtrunk.Human(s), simtrunk.MachineGreeting(6*s)
	tests := map[string]struct {
		audio simtrunk.Audio
		at    time.Duration
		loud  bool
	}{
		"a person draws breath":       {human, 200 * time.Millisecond, false},
		"a person says hello":         {human, 600 * time.Millisecond, true},
		"a person listens":            {human, 2 * s, false},
		"a machine speaks":            {machine, s, true},
		"a machine breathes":          {machine, 300*time.Millisecond + 1750*time.Millisecond, false},
		"a machine speaks on":         {machine, 5 * s, true},
		"a machine is about to beep":  {machine, 6500 * time.Millisecond, false},
		"a machine beeps":             {machine, 6900 * time.Millisecond, true},
		"a machine records":           {machine, 8 * s, false},
		"a fax machine waits":         {simtrunk.Fax(), s, false},
		"a fax machine sends a tone":  {simtrunk.Fax(), 3 * s, true},
		"a clip is played":            {simtrunk.Say(telephony.Clip{Samples: []int16{0: 0, 799: 9000}}), 0, true},
		"after a clip there is quiet": {simtrunk.Say(telephony.Clip{Samples: []int16{0: 0, 799: 9000}}), s, false},
	}
	for name, tt := range tests {
		if got := level(tt.audio, tt.at); (got > -45) != tt.loud {
			t.Errorf("%s: %.0f dBFS", name, got)
		}
	}
}

// A detector must take them for what they are, or tests of the engine say
// nothing.
func TestADetectorBelievesThem(t *testing.T) {
	tests := []struct {
		name  string
		audio simtrunk.Audio
		want  amd.Verdict
	}{
		{"a short hello", simtrunk.Human(500 * time.Millisecond), amd.Human},
		{"a long hello", simtrunk.Human(1500 * time.Millisecond), amd.Human},
		{"a machine", simtrunk.MachineGreeting(8 * time.Second), amd.Machine},
		{"a fax", simtrunk.Fax(), amd.Fax},
		{"nobody", simtrunk.Human(0), amd.Silence},
	}
	for _, tt := range tests {
		d := amd.New(amd.Config{})
		for at := time.Duration(0); ; at += telephony.FrameDuration {
			var f telephony.Frame
			tt.audio(at, &f)
			r, done := d.Write(f.Samples[:])
			if !done {
				continue
			}
			t.Logf("%s: %s after %v, %s", tt.name, r.Verdict, r.Decided, r.Reason)
			if r.Verdict != tt.want {
				t.Errorf("%s is taken for %s", tt.name, r.Verdict)
			}
			break
		}
	}
}
