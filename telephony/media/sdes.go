package media

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"

	"github.com/pion/srtp/v3"
)

// ErrNotSecured is wrapped by the error for a description that has no SRTP which
// we could use where plain audio is not allowed.
var ErrNotSecured = errors.New("the far end does not encrypt the audio")

// A suite is a way to protect packets, with the lengths of its keys in bytes.
type suite struct {
	name         string // in SDP
	profile      srtp.ProtectionProfile
	master, salt int
	tag          int  // of SRTP
	aead         bool // the MKI stands behind the tag, else before it
}

// suites are those that we offer, in the order of our preference: the strongest
// first, those with a tag of 32 bits last. RFC 7714, RFC 6188, RFC 4568.
var suites = []suite{
	{"AEAD_AES_256_GCM", srtp.ProtectionProfileAeadAes256Gcm, 32, 12, 16, true},
	{"AEAD_AES_128_GCM", srtp.ProtectionProfileAeadAes128Gcm, 16, 12, 16, true},
	{"AES_256_CM_HMAC_SHA1_80", srtp.ProtectionProfileAes256CmHmacSha1_80, 32, 14, 10, false},
	{"AES_CM_128_HMAC_SHA1_80", srtp.ProtectionProfileAes128CmHmacSha1_80, 16, 14, 10, false},
	{"AES_256_CM_HMAC_SHA1_32", srtp.ProtectionProfileAes256CmHmacSha1_32, 32, 14, 4, false},
	{"AES_CM_128_HMAC_SHA1_32", srtp.ProtectionProfileAes128CmHmacSha1_32, 16, 14, 4, false},
}

// suiteOf finds a suite by its name in SDP. FreeSWITCH and others of libsrtp's
// kin give the numbers of the 256 bit ones in the order of the 128 bit ones.
func suiteOf(name string) (suite, bool) {
	if rest, ok := strings.CutPrefix(strings.ToUpper(name), "AES_CM_256_"); ok {
		name = "AES_256_CM_" + rest
	}
	for _, s := range suites {
		if strings.EqualFold(s.name, name) {
			return s, true
		}
	}
	return suite{}, false
}

// controlTag is the length of the tag of SRTCP.
func (s suite) controlTag() int {
	if s.aead {
		return s.tag
	}
	return 10
}

// A masterKey protects one direction. Its fields are bytes.
type masterKey struct {
	key, salt string
	mki       string // stands in each packet; empty for none
}

func (k masterKey) String() string { return "(a key)" }

// newKey makes a key of ours.
func (s suite) newKey() masterKey {
	b := make([]byte, s.master+s.salt)
	rand.Read(b) // never fails
	return masterKey{key: string(b[:s.master]), salt: string(b[s.master:])}
}

// inline is the key as it stands in SDP. Its lifetime is not said: that is as
// long as the suite allows (RFC 4568 section 6.1).
func (k masterKey) inline() string {
	text := "inline:" + base64.StdEncoding.EncodeToString([]byte(k.key+k.salt))
	if k.mki != "" {
		text += fmt.Sprintf("|%d:%d", new(big.Int).SetBytes([]byte(k.mki)), len(k.mki))
	}
	return text
}

// Crypto is what SRTP and SRTCP of a stream go by.
type Crypto struct {
	suite   suite
	send    masterKey
	receive []masterKey // told apart by their MKI
}

// String names the suite: keys are not to be written anywhere.
func (c *Crypto) String() string {
	if c == nil {
		return "none"
	}
	return c.suite.name
}

// A cryptoLine is one a=crypto.
type cryptoLine struct {
	tag   string
	name  string // of the suite, as the far end writes it
	suite suite
	keys  []masterKey
}

const (
	maxCryptoKeys = 16
	maxMKI        = 128 // bytes, RFC 4568 section 6.1
)

// parseCrypto reads the value of an a=crypto line. A line whose suite, keys or
// session parameters we cannot honour to the letter is an error.
func parseCrypto(value string) (cryptoLine, error) {
	fields := strings.Fields(value)
	if len(fields) < 3 {
		return cryptoLine{}, errors.New("a=crypto names no tag, suite and key")
	}
	l := cryptoLine{tag: fields[0], name: fields[1]}
	if len(l.tag) > 9 || strings.Trim(l.tag, "0123456789") != "" {
		return cryptoLine{}, fmt.Errorf("a=crypto has tag %s, which is not a number", printable(l.tag))
	}
	var ok bool
	if l.suite, ok = suiteOf(l.name); !ok {
		return cryptoLine{}, fmt.Errorf("a=crypto has suite %s, which is not ours", printable(l.name))
	}
	for _, p := range fields[3:] {
		if err := checkParameter(p); err != nil {
			return cryptoLine{}, err
		}
	}
	for param := range strings.SplitSeq(fields[2], ";") {
		k, err := l.suite.parseKey(param)
		if err != nil {
			return cryptoLine{}, err
		}
		for _, other := range l.keys {
			if k.mki == other.mki || len(k.mki) != len(other.mki) {
				return cryptoLine{}, errors.New("a=crypto has keys that their MKI does not tell apart")
			}
		}
		if l.keys = append(l.keys, k); len(l.keys) > maxCryptoKeys {
			return cryptoLine{}, fmt.Errorf("a=crypto has more than %d keys", maxCryptoKeys)
		}
	}
	return l, nil
}

// checkParameter tells whether a session parameter may stand (RFC 4568 section
// 6.3). None is honoured, so only those that ask for nothing pass: the window
// size, which is a hint, and what its author marks as optional.
func checkParameter(p string) error {
	name, value, _ := strings.Cut(p, "=")
	switch {
	case strings.HasPrefix(p, "-"):
		return nil
	case strings.EqualFold(name, "WSH"):
		if n, err := strconv.Atoi(value); err == nil && n >= 64 {
			return nil
		}
	}
	return fmt.Errorf("a=crypto wants %s, which is not supported", printable(p))
}

// parseKey reads "inline:" KEY||SALT ["|" lifetime] ["|" MKI ":" length].
func (s suite) parseKey(param string) (masterKey, error) {
	method, info, ok := strings.Cut(param, ":")
	if !ok || !strings.EqualFold(method, "inline") {
		return masterKey{}, fmt.Errorf("a=crypto has key method %s, which is not inline", printable(method))
	}
	parts := strings.Split(info, "|")
	// Some leave the padding out.
	secret, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(parts[0], "="))
	if err != nil || len(secret) != s.master+s.salt {
		return masterKey{}, fmt.Errorf("a=crypto has a key that is not %d bytes in base64, as %s wants", s.master+s.salt, s.name)
	}
	k := masterKey{key: string(secret[:s.master]), salt: string(secret[s.master:])}
	parts = parts[1:]
	if len(parts) > 0 && !strings.Contains(parts[0], ":") {
		if !validLifetime(parts[0]) {
			return masterKey{}, fmt.Errorf("a=crypto has lifetime %s, which is not between 1 and 2^48 packets", printable(parts[0]))
		}
		parts = parts[1:]
	}
	if len(parts) > 0 {
		if k.mki, ok = parseMKI(parts[0]); !ok {
			return masterKey{}, fmt.Errorf("a=crypto has MKI %s, which is not a number:length", printable(parts[0]))
		}
		parts = parts[1:]
	}
	if len(parts) > 0 {
		return masterKey{}, errors.New("a=crypto has more than key, lifetime and MKI")
	}
	return k, nil
}

// validLifetime reads a number of packets, "2^31" or decimal. The far end counts
// its own: it brings a new key in time.
func validLifetime(text string) bool {
	if power, ok := strings.CutPrefix(text, "2^"); ok {
		n, err := strconv.ParseUint(power, 10, 8)
		return err == nil && n <= 48
	}
	n, err := strconv.ParseUint(text, 10, 64)
	return err == nil && n >= 1 && n <= 1<<48
}

// parseMKI reads "value:length" into that many bytes.
func parseMKI(text string) (string, bool) {
	value, length, _ := strings.Cut(text, ":")
	n, err := strconv.ParseUint(length, 10, 8)
	// 128 bytes have 309 digits.
	if err != nil || n < 1 || n > maxMKI || value == "" || len(value) > 310 || strings.Trim(value, "0123456789") != "" {
		return "", false
	}
	number, ok := new(big.Int).SetString(value, 10)
	if !ok || number.BitLen() > int(n)*8 {
		return "", false
	}
	return string(number.FillBytes(make([]byte, n))), true
}
