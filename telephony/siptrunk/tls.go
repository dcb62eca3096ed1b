package siptrunk

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"dialer/telephony"
)

// certificates are our own certificate and key, read again when the files
// change: certificates are renewed while calls are up.
type certificates struct {
	certFile, keyFile string

	mu      sync.Mutex
	cert    *tls.Certificate
	changed time.Time // of the files
	looked  time.Time
}

// lookAgain is how often the files are looked at, at most.
const lookAgain = 10 * time.Second

func loadCertificates(certFile, keyFile string) (*certificates, error) {
	c := &certificates{certFile: certFile, keyFile: keyFile}
	return c, c.load(time.Now())
}

func (c *certificates) load(now time.Time) error {
	cert, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return err
	}
	c.cert, c.changed, c.looked = &cert, c.modified(), now
	return nil
}

func (c *certificates) modified() (at time.Time) {
	for _, name := range []string{c.certFile, c.keyFile} {
		if info, err := os.Stat(name); err == nil && info.ModTime().After(at) {
			at = info.ModTime()
		}
	}
	return at
}

// get returns the certificate; while the files do not fit together, the last
// that did.
func (c *certificates) get() *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.looked) > lookAgain {
		c.looked = now
		if !c.modified().Equal(c.changed) {
			_ = c.load(now)
		}
	}
	return c.cert
}

func (c *certificates) server() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.get(), nil },
	}
}

// secure makes the TLS of a connection that we opened, and returns it when the
// peer has proven who it is.
func (c *conns) secure(ctx context.Context, conn net.Conn, at netip.AddrPort, who tlsPeer) (net.Conn, error) {
	settings, err := who.config()
	if err == nil && c.certs != nil { // for a peer that asks
		settings.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.certs.get(), nil }
	}
	if err == nil {
		secured := tls.Client(conn, settings)
		if err = secured.HandshakeContext(ctx); err == nil {
			return secured, nil
		}
	}
	conn.Close()
	return nil, fmt.Errorf("no TLS with %s: %w", at, distrust(err, who))
}

// tlsPeerOf is whom the connections to a trunk's peer must lead to.
func tlsPeerOf(t telephony.Trunk, peer string) tlsPeer {
	host, _, _ := hostAndPort(peer, telephony.TLS)
	return tlsPeer{ca: t.CA, name: cmp.Or(t.ServerName, strings.TrimSuffix(host, "."))}
}

func (p tlsPeer) config() (*tls.Config, error) {
	if p.name == "" {
		return nil, errors.New("it has to connect to us: there is no name to check its certificate against")
	}
	settings := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: p.name}
	if p.ca != "" {
		settings.RootCAs = x509.NewCertPool()
		if !settings.RootCAs.AppendCertsFromPEM([]byte(p.ca)) {
			return nil, errors.New("the trunk's ca holds no certificate in PEM")
		}
	}
	return settings, nil
}

// distrust says in the words of a trunk's settings why a certificate is refused.
func distrust(err error, who tlsPeer) error {
	var invalid x509.CertificateInvalidError
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &unknown) && who.ca == "":
		return fmt.Errorf("its certificate is not signed by an authority that this system trusts; give the trunk its ca: %w", err)
	case errors.As(err, &unknown):
		return fmt.Errorf("its certificate is not signed by the trunk's ca: %w", err)
	case errors.As(err, &name):
		return fmt.Errorf("its certificate is not for %q; give the trunk its server_name: %w", who.name, err)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Errorf("its certificate has expired or is not valid yet: %w", err)
	case errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.As(err, &record) || errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("does it speak TLS? %w", err)
	}
	return err
}
