// Command dialer is the outbound dialer: the production server, its
// administration, a simulated carrier and a demonstration of the whole.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"syscall"

	"github.com/alecthomas/kong"

	"dialer/telephony/siptrunk/siptest"
)

// commands is the command line; each field is a command with its flags.
type commands struct {
	Serve    serveCmd    `cmd:"" help:"Run the dialer."`
	Demo     demoCmd     `cmd:"" help:"Run a whole contact centre on this machine: dialer, carrier, people and agents."`
	Carrier  carrierCmd  `cmd:"" help:"Run a simulated carrier that speaks real SIP and RTP, to test any dialer."`
	Agent    agentCmd    `cmd:"" help:"Run a simulated agent: a SIP phone with audio and someone at the desktop."`
	Simulate simulateCmd `cmd:"" help:"Simulate shifts and compare ways to pace them: how many agents, which cap, when finished."`
	AMD      amdCmd      `cmd:"" name:"amd" help:"Detection of answering machines: try it, measure it."`
	Pacing   pacingCmd   `cmd:"" help:"Look into what the pacer of a campaign has decided."`
	Config   configCmd   `cmd:"" help:"Look at the configuration."`
	Migrate  migrateCmd  `cmd:"" help:"Bring the database to this version's schema."`
	User     userCmd     `cmd:"" help:"People who may log in."`
	Apikey   apikeyCmd   `cmd:"" help:"Keys for programs."`
	Version  versionCmd  `cmd:"" help:"Print the version."`
}

// terminal is the world around a command: where it writes, and what it reads.
type terminal struct {
	out, err io.Writer
	in       io.Reader
	env      func(string) (string, bool)
	// stop is signalled by SIGINT and SIGTERM, each time.
	stop <-chan os.Signal
}

// exitError ends the program with a code and without further words.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit %d", int(e)) }

func main() {
	siptest.SetLibraryLogger(slog.New(slog.DiscardHandler)) // the phones of demo: their log would spoil the screen
	stop := make(chan os.Signal, 4)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	t := &terminal{out: os.Stdout, err: os.Stderr, in: os.Stdin, env: os.LookupEnv, stop: stop}
	os.Exit(run(context.Background(), t, os.Args[1:]))
}

// run parses the arguments and runs the command; it returns the exit code.
func run(ctx context.Context, t *terminal, args []string) int {
	var c commands
	exited := -1
	parser, err := kong.New(&c,
		kong.Name("dialer"),
		kong.Description("An outbound dialer: preview, power and predictive dialing over SIP."),
		kong.Writers(t.out, t.err),
		kong.Exit(func(code int) { exited = code }),
		kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(t),
		simulateVars(),
	)
	if err != nil {
		fmt.Fprintln(t.err, "dialer:", err)
		return 1
	}
	parsed, err := parser.Parse(args)
	if exited >= 0 {
		return exited
	}
	if err != nil {
		fmt.Fprintf(t.err, "dialer: %v\nRun \"dialer --help\" to see the commands.\n", err)
		return 2
	}
	err = parsed.Run()
	var code exitError
	switch {
	case errors.As(err, &code):
		return int(code)
	case err != nil:
		fmt.Fprintln(t.err, "dialer:", err)
		return 1
	}
	return 0
}

type versionCmd struct{}

func (versionCmd) Run(t *terminal) error {
	fmt.Fprintln(t.out, version())
	return nil
}

// version is the module's version, or the commit it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value[:min(12, len(s.Value))]
		}
	}
	return "devel"
}

func newLogger(c LogConfig, w io.Writer) *slog.Logger {
	level, _ := logLevel(c.Level) // validated
	opt := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, opt))
	}
	return slog.New(slog.NewTextHandler(w, opt))
}

// configFlags are the flags of every command that needs the configuration.
type configFlags struct {
	ConfigFile  string `name:"config" help:"Configuration file (YAML); see docs/configuration.md." type:"path" placeholder:"FILE"`
	DataDir     string `help:"Folder for what the dialer keeps itself." placeholder:"DIR"`
	DatabaseURL string `help:"PostgreSQL to use instead of a private one." placeholder:"URL"`
}

// load merges the configuration and prints every mistake. serving also looks at
// the folders that only a dialer that runs needs.
func (f configFlags) load(t *terminal, flags map[string]string, serving bool) (loaded, error) {
	if flags == nil {
		flags = map[string]string{}
	}
	if f.DataDir != "" {
		flags["data_dir"] = f.DataDir
	}
	if f.DatabaseURL != "" {
		flags["database_url"] = f.DatabaseURL
	}
	l, problems := loadConfig(f.ConfigFile, t.env, flags)
	if serving && l.DataDir != "" {
		problems = append(problems, l.placed(l.folders())...)
		problems = append(problems, l.placed(l.certificate())...)
	}
	if len(problems) == 0 {
		return l, nil
	}
	slices.SortStableFunc(problems, func(a, b Problem) int { return a.Line - b.Line })
	name, mistakes := f.ConfigFile, "mistakes"
	if name == "" {
		name = "configuration"
	}
	if len(problems) == 1 {
		mistakes = "mistake"
	}
	fmt.Fprintf(t.err, "%s: %d %s\n", name, len(problems), mistakes)
	for _, p := range problems {
		fmt.Fprintln(t.err, "  "+p.String())
	}
	return l, exitError(2)
}

type configCmd struct {
	Check configCheckCmd `cmd:"" help:"Print the merged configuration with the source of each value, or every mistake."`
}

type configCheckCmd struct{ configFlags }

func (c configCheckCmd) Run(t *terminal) error {
	l, err := c.load(t, nil, true)
	if err != nil {
		return err
	}
	l.print(t.out)
	return nil
}
