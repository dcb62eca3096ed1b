package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"dialer/telephony"
	"dialer/telephony/siptrunk/siptest"
)

// carrierCmd runs the simulated carrier, for trials of any dialer.
type carrierCmd struct {
	Listen     string        `help:"UDP and TCP address for SIP; RTP goes over the same IP address." default:"127.0.0.1:5090"`
	Population string        `help:"Who is behind the numbers (YAML). Without it, a built-in consumer list." type:"existingfile" placeholder:"FILE"`
	Seed       uint64        `help:"The same seed, number and attempt always meet the same behaviour." default:"1"`
	Speed      float64       `help:"Divides the times of ringing, talking and recording." default:"1"`
	Ledger     string        `help:"Append what happens to each call to this file, as JSON lines." type:"path" placeholder:"FILE"`
	RTPPorts   string        `name:"rtp-ports" help:"UDP ports for audio." default:"30000-39999"`
	User       string        `help:"Ask callers for this user by digest authentication."`
	Password   string        `help:"The user's password." env:"DIALER_CARRIER_PASSWORD"`
	Allow      []string      `help:"Take calls from these networks only (192.0.2.0/24); others get 403." placeholder:"CIDR"`
	Message    string        `help:"The recording that your dialer plays to abandoned calls (WAV), so that people know it and press their key." type:"existingfile" placeholder:"FILE"`
	Every      time.Duration `help:"How often to print the counters." default:"5s"`
	For        time.Duration `help:"Stop after this time; 0 runs until interrupted." default:"0"`
	Template   bool          `help:"Print the built-in population, to start your own file from, and exit."`
	Verbose    bool          `short:"v" help:"Log what goes wrong."`
}

// Run serves until it is interrupted.
func (c *carrierCmd) Run(ctx context.Context, t *terminal) error {
	return c.serve(ctx, t.out, t.stop)
}

func (c *carrierCmd) serve(ctx context.Context, out io.Writer, interrupt <-chan os.Signal) error {
	if c.Template {
		_, err := out.Write(siptest.PopulationTemplate())
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	cfg, err := c.config()
	if err != nil {
		return err
	}
	carrier, err := siptest.NewCarrier(cfg)
	if err != nil {
		return err
	}
	if c.For > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.For)
		defer cancel()
	}
	fmt.Fprintf(out, "carrier listens on sip:%s (UDP and TCP), seed %d, speed %g\n", carrier.Addr(), c.Seed, c.Speed)
	done := make(chan error, 1)
	go func() { done <- carrier.Run(ctx) }()
	ticker := time.NewTicker(max(c.Every, 100*time.Millisecond))
	defer ticker.Stop()
	began, before := time.Now(), siptest.Counts{}
	for {
		select {
		case <-ticker.C:
			now := carrier.Counts()
			printCounts(out, time.Since(began), now, float64(now.Arrived-before.Arrived)/max(c.Every, 100*time.Millisecond).Seconds())
			before = now
		case <-interrupt:
			stop()
		case err := <-done:
			printSummary(out, time.Since(began), carrier.Counts())
			return err
		}
	}
}

func (c *carrierCmd) config() (siptest.CarrierConfig, error) {
	cfg := siptest.CarrierConfig{
		Listen: c.Listen, Seed: c.Seed, Speed: c.Speed, Ledger: c.Ledger,
		User: c.User, Password: c.Password,
		// A carrier that runs for days must not keep every call.
		Keep: 1000,
	}
	if c.Password != "" && c.User == "" {
		return cfg, fmt.Errorf("--password without --user: give both, or neither")
	}
	if c.Verbose {
		cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	var err error
	if c.Population != "" {
		if cfg.Population, err = siptest.LoadPopulation(c.Population); err != nil {
			return cfg, err
		}
	}
	if c.Message != "" {
		clip, err := readClip(c.Message)
		if err != nil {
			return cfg, fmt.Errorf("--message: %w", err)
		}
		cfg.Message = clip.Samples
	}
	if cfg.RTP, err = siptest.ParsePortRange(c.RTPPorts); err != nil {
		return cfg, fmt.Errorf("--rtp-ports: %w", err)
	}
	for _, text := range c.Allow {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return cfg, fmt.Errorf("--allow: %q is not a network such as 192.0.2.0/24", text)
		}
		cfg.Allow = append(cfg.Allow, p)
	}
	return cfg, nil
}

func readClip(path string) (telephony.Clip, error) {
	f, err := os.Open(path)
	if err != nil {
		return telephony.Clip{}, err
	}
	defer f.Close()
	return telephony.ReadWAV(f, filepath.Base(path))
}

func printCounts(out io.Writer, since time.Duration, n siptest.Counts, rate float64) {
	fmt.Fprintf(out, "%6s  calls %d (%.1f/s)  ringing %d  up %d  answered %d  heard a voice %d  messages %d  cancelled %d\n",
		since.Round(time.Second), n.Arrived, rate, n.Ringing, n.Talking, n.Answered, n.Heard, n.Messages, n.Cancelled)
}

func printSummary(out io.Writer, since time.Duration, n siptest.Counts) {
	fmt.Fprintf(out, "\nafter %s:\n", since.Round(time.Second))
	for _, row := range []struct {
		name  string
		count int
	}{
		{"calls", n.Arrived},
		{"answered", n.Answered},
		{"ended by the caller after the answer", n.CallerEnded},
		{"heard a voice", n.Heard},
		{"of these, the recorded message", n.Messages},
		{"cancelled", n.Cancelled},
		{"answered after the CANCEL", n.LateAnswers},
		{"answers never acknowledged", n.Unacked},
		{"refused or given up", n.RefusedCalls},
		{"still open", n.Open()},
	} {
		fmt.Fprintf(out, "%7d  %s\n", row.count, row.name)
	}
	var kinds []siptest.Kind
	for k := range n.ByKind {
		kinds = append(kinds, k)
	}
	slices.Sort(kinds)
	for _, k := range kinds {
		fmt.Fprintf(out, "%7d  drawn as %s\n", n.ByKind[k], k)
	}
}
