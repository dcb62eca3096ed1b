package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"dialer/telephony"
)

// Config is dialer.yaml: what one process needs to run. Campaigns, lists,
// agents and rules live in the database and are edited through the API.
type Config struct {
	// DataDir holds what the process keeps itself: the private PostgreSQL.
	DataDir string `yaml:"data_dir"`
	// DatabaseURL of a PostgreSQL 15 to 18; empty means a private one in DataDir.
	DatabaseURL string `yaml:"database_url" secret:"true"`
	// Recordings is the folder of recorded calls; empty means one in DataDir.
	Recordings string `yaml:"recordings"`
	// Node is this process's number among those that share a database.
	Node int `yaml:"node"`
	// Drain is how long talks may go on after the first signal to stop.
	Drain time.Duration `yaml:"drain"`
	// Simulations is how many simulations run here at once.
	Simulations int `yaml:"simulations"`

	HTTP   HTTPConfig    `yaml:"http"`
	SIP    SIPConfig     `yaml:"sip"`
	Log    LogConfig     `yaml:"log"`
	Trunks []TrunkConfig `yaml:"trunks"`
}

// HTTPConfig is where the API listens.
type HTTPConfig struct {
	Listen string `yaml:"listen"`
	// Origins are the web origins that may open an agent's websocket.
	Origins []string `yaml:"origins"`
}

// SIPConfig is where SIP and RTP are spoken.
type SIPConfig struct {
	// Listen is for UDP and, unless TCP is false, for TCP.
	Listen string    `yaml:"listen"`
	TCP    bool      `yaml:"tcp"`
	TLS    TLSConfig `yaml:"tls"`
	// External is the address that peers reach us at, when it is not our own.
	External string `yaml:"external"`
	RTPPorts string `yaml:"rtp_ports"`
	// Realm of the digest with which agents' phones register.
	Realm string `yaml:"realm"`
	// NoResponse is how long a trunk may stay silent before it is given up.
	NoResponse time.Duration `yaml:"no_response"`
	// DSCP and RTPDSCP mark what is sent, so that routers put it first.
	DSCP    int `yaml:"dscp"`
	RTPDSCP int `yaml:"rtp_dscp"`
	// MediaTimeout ends a call on which no RTP came for so long.
	MediaTimeout time.Duration `yaml:"media_timeout"`
	// LadderKeep is how long the SIP of calls is kept; 0 keeps none.
	LadderKeep time.Duration `yaml:"ladder_keep"`
}

// TLSConfig is SIP over TLS; without a certificate nothing listens.
type TLSConfig struct {
	Listen string `yaml:"listen"`
	// Cert and Key are PEM files.
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

// LogConfig says how much is logged, and how.
type LogConfig struct {
	Level  string `yaml:"level"`
	Format string `yaml:"format"`
}

// TrunkConfig is a trunk that the file declares; it is created, or brought to
// this state, at every start. Others are made through the API.
type TrunkConfig struct {
	Name         string   `yaml:"name"`
	Address      string   `yaml:"address"`
	Username     string   `yaml:"username"`
	Password     string   `yaml:"password" secret:"true"`
	Realm        string   `yaml:"realm"`
	FromDomain   string   `yaml:"from_domain"`
	Channels     int      `yaml:"channels"`
	CPS          float64  `yaml:"cps"`
	Codecs       []string `yaml:"codecs"`
	MediaSources []string `yaml:"media_sources"`
	Disabled     bool     `yaml:"disabled"`
	telephony.TrunkOptions
}

// defaultTrunk is a trunk of which the file says nothing.
func defaultTrunk() TrunkConfig { return TrunkConfig{Channels: 30, CPS: 5} }

// DefaultConfig is what an empty file means.
func DefaultConfig() Config {
	return Config{
		DataDir: defaultDataDir(),
		Node:    1,
		Drain:   5 * time.Minute,

		Simulations: 1,
		HTTP:        HTTPConfig{Listen: "127.0.0.1:8080"},
		SIP: SIPConfig{
			Listen: "0.0.0.0:5060", TCP: true, TLS: TLSConfig{Listen: "0.0.0.0:5061"}, RTPPorts: "20000-29999", Realm: "dialer",
			NoResponse: 4 * time.Second, MediaTimeout: 10 * time.Second, DSCP: 24, RTPDSCP: 46, LadderKeep: 72 * time.Hour,
		},
		Log: LogConfig{Level: "info", Format: "text"},
	}
}

// defaultDataDir is a folder below the current one; as root the system's place
// for such data, since PostgreSQL runs as an account that may not enter /root.
func defaultDataDir() string {
	if os.Geteuid() == 0 {
		return "/var/lib/dialer"
	}
	return ".dialer"
}

// recordings is the folder of recorded calls.
func (c Config) recordings() string {
	if c.Recordings == "" {
		return filepath.Join(c.DataDir, "recordings")
	}
	return c.Recordings
}

// A Problem is one mistake in the configuration.
type Problem struct {
	Path string // "trunks[0].cps"; empty when it is the file itself
	Line int    // in the file; 0 when the value did not come from it
	What string // what is wrong
	Hint string // what to do
}

func (p Problem) String() string {
	text := p.What + "; " + p.Hint
	if p.Path != "" {
		text = p.Path + ": " + text
	}
	if p.Line > 0 {
		text = fmt.Sprintf("line %d: %s", p.Line, text)
	}
	return text
}

// Validate returns every mistake.
func (c Config) Validate() []Problem {
	var ps []Problem
	add := func(path, hint, format string, args ...any) {
		ps = append(ps, Problem{Path: path, What: fmt.Sprintf(format, args...), Hint: hint})
	}
	if c.DataDir == "" {
		add("data_dir", "name a folder, for instance /var/lib/dialer", "is empty")
	}
	if c.Node < 1 {
		add("node", "use 1, 2, …: a different one for each process on the same database", "%d is not a node's number", c.Node)
	}
	if c.Drain < 0 {
		add("drain", "use a duration of 0 or more, for instance 5m", "%s is negative", c.Drain)
	}
	if c.Simulations < 0 || c.Simulations > 16 {
		add("simulations", "use 1, or 0 to leave them to other nodes", "%d is not between 0 and 16", c.Simulations)
	}
	if u := c.DatabaseURL; u != "" && !strings.HasPrefix(u, "postgres://") && !strings.HasPrefix(u, "postgresql://") {
		add("database_url", "write postgres://user:password@host:5432/database", "is not a PostgreSQL URL")
	}
	if _, err := listenAddr(c.HTTP.Listen); err != nil {
		add("http.listen", "write address:port, for instance 127.0.0.1:8080", "%q: %v", c.HTTP.Listen, err)
	}
	for i, o := range c.HTTP.Origins {
		if !strings.HasPrefix(o, "https://") && !strings.HasPrefix(o, "http://") {
			add(fmt.Sprintf("http.origins[%d]", i), "write https://host", "%q is not a web origin", o)
		}
	}
	if _, err := listenAddr(c.SIP.Listen); err != nil {
		add("sip.listen", "write address:port, for instance 0.0.0.0:5060", "%q: %v", c.SIP.Listen, err)
	}
	if at, err := listenAddr(c.SIP.Listen); err == nil && c.SIP.TCP && at.Port() != 0 && c.SIP.Listen == c.HTTP.Listen {
		add("sip.listen", "use another port, or set sip.tcp to false", "%q is also http.listen", c.SIP.Listen)
	}
	if (c.SIP.TLS.Cert == "") != (c.SIP.TLS.Key == "") {
		add("sip.tls", "give cert and key, or neither for no SIP over TLS", "has only one of cert and key")
	}
	if at, err := listenAddr(c.SIP.TLS.Listen); err != nil {
		add("sip.tls.listen", "write address:port, for instance 0.0.0.0:5061", "%q: %v", c.SIP.TLS.Listen, err)
	} else if sip, err := listenAddr(c.SIP.Listen); err == nil && c.SIP.TLS.Cert != "" && at.Addr().Is4() != sip.Addr().Is4() {
		add("sip.tls.listen", "use IPv4 or IPv6 for both", "%q is not of the IP version of sip.listen", c.SIP.TLS.Listen)
	} else if err == nil && c.SIP.TLS.Cert != "" && c.SIP.TCP && at == sip {
		add("sip.tls.listen", "use another port, usually 5061", "%q is also sip.listen, for TCP", c.SIP.TLS.Listen)
	}
	if c.SIP.External != "" {
		if _, err := netip.ParseAddr(c.SIP.External); err != nil {
			add("sip.external", "write the public IP address, or leave it out", "%q is not an IP address", c.SIP.External)
		}
	}
	if _, _, err := portRange(c.SIP.RTPPorts); err != nil {
		add("sip.rtp_ports", "write low-high, for instance 20000-29999; each call needs two ports for each leg", "%v", err)
	}
	if c.SIP.Realm == "" || strings.ContainsAny(c.SIP.Realm, "\"\\\r\n") {
		add("sip.realm", "use a word or a domain", "%q is not a realm", c.SIP.Realm)
	}
	if c.SIP.NoResponse < 500*time.Millisecond || c.SIP.NoResponse > 32*time.Second {
		add("sip.no_response", "use 2s to 4s", "%s is not between 500ms and 32s", c.SIP.NoResponse)
	}
	if c.SIP.DSCP < 0 || c.SIP.DSCP > 63 {
		add("sip.dscp", "use 24 (CS3), 26 (AF31), or 0 for none", "%d is not between 0 and 63", c.SIP.DSCP)
	}
	if c.SIP.RTPDSCP < 0 || c.SIP.RTPDSCP > 63 {
		add("sip.rtp_dscp", "use 46 (EF), or 0 for none", "%d is not between 0 and 63", c.SIP.RTPDSCP)
	}
	if c.SIP.MediaTimeout < 2*time.Second {
		add("sip.media_timeout", "use 5s to 30s", "%s is under 2s", c.SIP.MediaTimeout)
	}
	if k := c.SIP.LadderKeep; k != 0 && (k < time.Minute || k > 90*24*time.Hour) {
		add("sip.ladder_keep", "use 1m to 2160h, or 0 to keep none", "%s is too short or too long", k)
	}
	if _, err := logLevel(c.Log.Level); err != nil {
		add("log.level", "use debug, info, warn or error", "%q is not a level", c.Log.Level)
	}
	if c.Log.Format != "text" && c.Log.Format != "json" {
		add("log.format", "use text or json", "%q is not a format", c.Log.Format)
	}
	names := map[string]int{}
	for i, t := range c.Trunks {
		path := fmt.Sprintf("trunks[%d]", i)
		if first, ok := names[t.Name]; ok && t.Name != "" {
			add(path+".name", "give each trunk its own name", "%q is also the name of trunks[%d]", t.Name, first)
		}
		names[t.Name] = i
		trunk, problems := t.trunk()
		for _, e := range trunk.Validate() {
			problems = append(problems, Problem{Path: configPath(e.Field), What: e.Message, Hint: "see docs/configuration.md, trunks"})
		}
		for _, p := range problems {
			p.Path = path + "." + p.Path
			ps = append(ps, p)
		}
	}
	return ps
}

// configPath writes the field of a mistake, "backups/0", as the file's paths are.
func configPath(field string) string {
	parts := strings.Split(field, "/")
	path := parts[0]
	for _, part := range parts[1:] {
		if _, err := strconv.Atoi(part); err == nil {
			path += "[" + part + "]"
		} else {
			path += "." + part
		}
	}
	return path
}

// folders returns the mistakes that only making the folders shows: each is
// tried beside what is there, and nothing is left behind.
func (c Config) folders() []Problem {
	const hint = "name a folder in which this account may write, or give it the right to"
	var ps []Problem
	if c.DatabaseURL == "" {
		if err := mayMake(c.DataDir); err != nil {
			return []Problem{{Path: "data_dir", What: err.Error(), Hint: hint}}
		}
	}
	if err := mayMake(c.recordings()); err != nil {
		path := "recordings"
		if c.Recordings == "" {
			path = "data_dir"
		}
		ps = append(ps, Problem{Path: path, What: err.Error(), Hint: hint})
	}
	return ps
}

// certificate returns the mistake that only reading SIP's certificate shows.
func (c Config) certificate() []Problem {
	if c.SIP.TLS.Cert == "" || c.SIP.TLS.Key == "" {
		return nil
	}
	if _, err := tls.LoadX509KeyPair(c.SIP.TLS.Cert, c.SIP.TLS.Key); err != nil {
		return []Problem{{Path: "sip.tls.cert", What: err.Error(), Hint: "name the PEM files of a certificate and its key that this account may read"}}
	}
	return nil
}

// mayMake reports why dir could not be made, or be written in once it is there.
func mayMake(dir string) error {
	above, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	for {
		_, err := os.Stat(above)
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%q cannot be made: %w", dir, err)
		}
		above = filepath.Dir(above)
	}
	probe, err := os.MkdirTemp(above, ".dialer-check-")
	if err != nil {
		return fmt.Errorf("%q cannot be written in: %w", dir, err)
	}
	return os.Remove(probe)
}

// trunk turns the file's words into a trunk; it has no id yet.
func (t TrunkConfig) trunk() (telephony.Trunk, []Problem) {
	out := telephony.Trunk{
		Name: t.Name, Address: t.Address, Username: t.Username, Password: t.Password,
		Realm: t.Realm, FromDomain: t.FromDomain, Channels: t.Channels, CPS: t.CPS,
		Codecs: t.Codecs, Enabled: !t.Disabled, TrunkOptions: t.TrunkOptions,
	}
	var ps []Problem
	for i, s := range t.MediaSources {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			ps = append(ps, Problem{
				Path: fmt.Sprintf("media_sources[%d]", i), What: fmt.Sprintf("%q is not a network", s),
				Hint: "write it as 192.0.2.0/24",
			})
			continue
		}
		out.MediaSources = append(out.MediaSources, p)
	}
	return out, ps
}

func listenAddr(s string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if host == "" {
		host = "0.0.0.0"
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%q is not an IP address of this machine", host)
	}
	p, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%q is not a port", port)
	}
	return netip.AddrPortFrom(addr, uint16(p)), nil
}

func portRange(s string) (low, high int, err error) {
	a, b, ok := strings.Cut(s, "-")
	if ok {
		low, err = strconv.Atoi(strings.TrimSpace(a))
		if err == nil {
			high, err = strconv.Atoi(strings.TrimSpace(b))
		}
	}
	if !ok || err != nil {
		return 0, 0, fmt.Errorf("%q is not a range of ports", s)
	}
	if low < 1024 || high > 65535 || high-low < 3 {
		return 0, 0, fmt.Errorf("%q is not a range of at least four ports between 1024 and 65535", s)
	}
	return low, high, nil
}

func logLevel(s string) (slog.Level, error) {
	i := slices.Index([]string{"debug", "info", "warn", "error"}, s)
	if i < 0 {
		return 0, fmt.Errorf("unknown level %q", s)
	}
	return []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError}[i], nil
}
