package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dialer/telephony"
)

func TestCarrierRefusesBadFlags(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "people.yaml")
	if err := os.WriteFile(bad, []byte("groups:\n  - {kind: alien, share: 1}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := carrierCmd{Listen: "127.0.0.1:0", Speed: 1, RTPPorts: "30000-39999"}
	for want, change := range map[string]func(*carrierCmd){
		"--password without --user":   func(c *carrierCmd) { c.Password = "x" },
		"--rtp-ports":                 func(c *carrierCmd) { c.RTPPorts = "9" },
		"the lower first":             func(c *carrierCmd) { c.RTPPorts = "3000-2000" },
		"--allow":                     func(c *carrierCmd) { c.Allow = []string{"everyone"} },
		"people.yaml:2: ":             func(c *carrierCmd) { c.Population = bad },
		"name one IP address":         func(c *carrierCmd) { c.Listen = ":5090" },
		"people.yaml is not a RIFF":   func(c *carrierCmd) { c.Message = bad },
		"listen address":              func(c *carrierCmd) { c.Listen = "nowhere" },
		"speed -1":                    func(c *carrierCmd) { c.Speed = -1 },
		"opening the ledger":          func(c *carrierCmd) { c.Ledger = filepath.Join(bad, "ledger") },
		"listening for SIP: listen u": func(c *carrierCmd) { c.Listen = "203.0.113.1:5090" },
	} {
		c := good
		change(&c)
		err := c.serve(t.Context(), &bytes.Buffer{}, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestCarrierTellsItsAddressAndSumsUp(t *testing.T) {
	for name, stop := range map[string]func(*carrierCmd) chan os.Signal{
		"after its time": func(c *carrierCmd) chan os.Signal { c.For = 300 * time.Millisecond; return nil },
		"on interrupt": func(*carrierCmd) chan os.Signal {
			interrupt := make(chan os.Signal, 1)
			interrupt <- os.Interrupt
			return interrupt
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := carrierCmd{Listen: "127.0.0.1:0", Speed: 1, RTPPorts: "30000-39999", Every: 100 * time.Millisecond}
			interrupt := stop(&c)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			var out bytes.Buffer
			if err := c.serve(ctx, &out, interrupt); err != nil || ctx.Err() != nil {
				t.Fatalf("%v, %v", err, ctx.Err())
			}
			for _, want := range []string{"carrier listens on sip:127.0.0.1:", "0  calls\n", "0  still open\n"} {
				if !strings.Contains(out.String(), want) {
					t.Errorf("%q is missing in\n%s", want, out.String())
				}
			}
		})
	}
}

// The people behind the carrier must know the message of any dialer.
func TestCarrierKnowsTheGivenMessage(t *testing.T) {
	c := carrierCmd{Listen: "127.0.0.1:0", Speed: 1, RTPPorts: "30000-39999", Message: filepath.Join(t.TempDir(), "ours.wav")}
	if err := os.WriteFile(c.Message, demoMessage(), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := c.config()
	want, _ := telephony.ReadWAV(bytes.NewReader(demoMessage()), "")
	if err != nil || !slices.Equal(cfg.Message, want.Samples) {
		t.Errorf("%d samples, %v, want %d", len(cfg.Message), err, len(want.Samples))
	}
}
