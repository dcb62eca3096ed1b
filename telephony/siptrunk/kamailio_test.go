package siptrunk

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"dialer/telephony"
	"dialer/telephony/siptrunk/siptest"
)

// kamailioConfig is a carrier's edge: it challenges INVITE and REGISTER, stays in
// the path of the dialog and sends calls on. %s are its TLS parts, its listeners
// and where calls go.
const kamailioConfig = `
debug=1
log_stderror=yes
fork=yes
children=2
tcp_children=2
disable_tcp=no
auto_aliases=no
%s
loadmodule "kex.so"
loadmodule "corex.so"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "auth.so"
loadmodule "xlog.so"
modparam("usrloc", "db_mode", 0)
modparam("auth", "nonce_expire", 60)

request_route {
	if (!mf_process_maxfwd_header("10")) { sl_send_reply("483", "Too Many Hops"); exit; }
	if (is_method("REGISTER")) {
		if (!pv_www_authenticate("sip.example", "s3cret", "0")) { www_challenge("sip.example", "0"); exit; }
		save("location");
		xlog("L_ERR", "SEEN REGISTER of $fU expires $hdr(Expires)\n");
		exit;
	}
	if (has_totag()) {
		if (loose_route()) {
			xlog("L_ERR", "SEEN $rm by $proto\n");
			t_relay();
			exit;
		}
		if (is_method("ACK") && t_check_trans()) { t_relay(); exit; }
		if (!is_method("ACK")) { sl_send_reply("404", "No Route"); }
		exit;
	}
	if (is_method("CANCEL")) { if (t_check_trans()) { t_relay(); } exit; }
	if (is_method("OPTIONS")) { sl_send_reply("200", "OK"); exit; }
	if (!is_method("INVITE")) { exit; }
	if (!pv_proxy_authenticate("sip.example", "s3cret", "0")) {
		xlog("L_ERR", "SEEN INVITE challenged\n");
		proxy_challenge("sip.example", "0");
		exit;
	}
	consume_credentials();
	record_route();
	xlog("L_ERR", "SEEN INVITE by $proto\n");
	$du = "sip:%s;transport=udp";
	t_relay();
}
`

// kamailio runs a proxy until the test ends; seen is told each line of its log
// that tells of a message.
type kamailio struct {
	udp, tls string
	ca       string // PEM

	mu   sync.Mutex
	seen []string
	all  []string
}

func startKamailio(t *testing.T, next string) *kamailio {
	t.Helper()
	path, err := exec.LookPath("kamailio")
	if err != nil {
		t.Skip("NOT TESTED: kamailio is not installed; make interop installs it")
	}
	k := &kamailio{}
	dir := t.TempDir()
	free := func() string {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return l.Addr().String()
	}
	k.udp, k.tls = free(), free()
	authority, err := siptest.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	k.ca = authority.PEM()
	cert, key, err := authority.IssueFiles(dir, "127.0.0.1", time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	listen := fmt.Sprintf("listen=udp:%s\nlisten=tls:%s\nenable_tls=yes\nloadmodule \"tls.so\"\nmodparam(\"tls\", \"config\", \"%s\")",
		k.udp, k.tls, filepath.Join(dir, "tls.cfg"))
	tlsConfig := fmt.Sprintf("[server:default]\nmethod = TLSv1.2+\nverify_certificate = no\nrequire_certificate = no\nprivate_key = %s\ncertificate = %s\n"+
		"[client:default]\nverify_certificate = no\nrequire_certificate = no\n", key, cert)
	for name, text := range map[string]string{"tls.cfg": tlsConfig, "kamailio.cfg": fmt.Sprintf(kamailioConfig, listen, next)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(path, "-f", filepath.Join(dir, "kamailio.cfg"), "-DD", "-E", "-m", "64", "-M", "8",
		"-P", filepath.Join(dir, "pid"), "-w", dir)
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	reading.Go(func() {
		for lines := bufio.NewScanner(log); lines.Scan(); {
			k.mu.Lock()
			k.all = append(k.all, lines.Text())
			if _, what, ok := strings.Cut(lines.Text(), "SEEN "); ok {
				k.seen = append(k.seen, what)
			}
			k.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		kill := time.AfterFunc(10*time.Second, func() { cmd.Process.Kill() })
		reading.Wait()
		_ = cmd.Wait() // it ends as its main process does, whatever that says
		kill.Stop()
		if t.Failed() {
			t.Logf("kamailio says:\n%s", strings.Join(k.all, "\n"))
		}
	})
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if c, err := net.Dial("tcp4", k.tls); err == nil {
			c.Close()
			return k
		}
		if time.Now().After(deadline) {
			t.Fatal("kamailio does not listen")
		}
	}
}

// awaits waits until the proxy tells of something.
func (k *kamailio) awaits(t *testing.T, what string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		k.mu.Lock()
		text := strings.Join(k.seen, "\n")
		k.mu.Unlock()
		if strings.Contains(text, what) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("kamailio does not tell of %q but of\n%s", what, text)
		}
	}
}

// behindProxy is a person behind the proxy: what the proxy recorded is told back.
func behindProxy() scenario {
	route := "[last_Record-Route:]"
	return scenario{
		recv("INVITE", [2]string{"Record-Route:", "lr"}), say("180 Ringing", route), say("200 OK", route, audio), recv("ACK"),
		recv("BYE", [2]string{"Max-Forwards:", "69"}), sayTo("200 OK"),
	}
}

// TestKamailio: calls through a proxy that challenges, records its route and
// speaks TLS, and a registration with it.
func TestKamailio(t *testing.T) {
	for _, transport := range []telephony.Transport{telephony.UDP, telephony.TLS} {
		t.Run(string(transport), func(t *testing.T) {
			t.Parallel()
			person := startScenario(t, "u1", behindProxy())
			k := startKamailio(t, person.addr)
			trunk := telephony.Trunk{
				ID: "trk_test", Name: "kamailio", Address: k.udp, Username: "acme", Password: "s3cret", Realm: "sip.example",
				Channels: 10, CPS: 1000, Enabled: true,
				TrunkOptions: telephony.TrunkOptions{Transport: transport, Register: true, RegisterSeconds: 60},
			}
			if transport == telephony.TLS {
				trunk.Address, trunk.CA = k.tls, k.ca
			}
			e := startEndpoint(t, nil, trunk)
			k.awaits(t, "REGISTER of")
			leg := dial(t, t.Context(), e, invite()).answered()
			k.awaits(t, "INVITE challenged")
			k.awaits(t, "INVITE by "+string(transport))
			k.awaits(t, "ACK by "+string(transport))
			leg.Hangup(telephony.CauseNormal)
			k.awaits(t, "BYE by "+string(transport))
			person.well()
		})
	}
	t.Run("a certificate of somebody else", func(t *testing.T) {
		t.Parallel()
		k := startKamailio(t, "127.0.0.1:9")
		other, err := siptest.NewAuthority()
		if err != nil {
			t.Fatal(err)
		}
		e := startEndpoint(t, nil, telephony.Trunk{
			ID: "trk_test", Name: "kamailio", Address: k.tls, Channels: 10, CPS: 1000, Enabled: true,
			TrunkOptions: telephony.TrunkOptions{Transport: telephony.TLS, CA: other.PEM(), OptionsSeconds: -1},
		})
		if f := dial(t, t.Context(), e, invite()).failed(); f.SIPStatus != 0 {
			t.Errorf("the call got as far as %d", f.SIPStatus)
		}
	})
}
