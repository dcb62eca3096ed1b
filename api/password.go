package api

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/argon2"

	"dialer"
)

// The cost of a password hash: 19 MiB, two passes, one lane (OWASP's floor for
// Argon2id, RFC 9106). It is written into each hash, so it may be raised.
const (
	argonMemory = 19 * 1024 // KiB
	argonTime   = 2
	argonKey    = 32
	argonSalt   = 16
)

// MinPassword and MaxPassword bound the length of a password in bytes.
const (
	MinPassword = 12
	MaxPassword = 256
)

// HashPassword returns the Argon2id hash of a password in PHC string form. A
// password that is too short or too long is an Invalid *dialer.Error.
func HashPassword(password string) (string, error) {
	if n := len(password); n < MinPassword || n > MaxPassword {
		return "", dialer.Fieldf("password", "has %d bytes: give %d to %d", n, MinPassword, MaxPassword)
	}
	salt := make([]byte, argonSalt)
	rand.Read(salt)
	key := argon2.IDKey([]byte(password), salt, argonTime, argonMemory, 1, argonKey)
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=1$%s$%s", argon2.Version, argonMemory, argonTime,
		b64.EncodeToString(salt), b64.EncodeToString(key)), nil
}

// checkHash reports whether password belongs to the stored hash.
func checkHash(stored, password string) bool {
	var version, memory, passes, lanes int
	parts := strings.Split(stored, "$")
	if len(parts) != 6 || parts[1] != "argon2id" {
		return false
	}
	if _, err := fmt.Sscanf(parts[2], "v=%d", &version); err != nil || version != argon2.Version {
		return false
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &memory, &passes, &lanes); err != nil {
		return false
	}
	if memory < 8 || memory > 1<<20 || passes < 1 || passes > 16 || lanes < 1 || lanes > 16 {
		return false
	}
	b64 := base64.RawStdEncoding
	salt, err := b64.DecodeString(parts[4])
	if err != nil {
		return false
	}
	want, err := b64.DecodeString(parts[5])
	if err != nil || len(want) < 16 || len(want) > 64 {
		return false
	}
	got := argon2.IDKey([]byte(password), salt, uint32(passes), uint32(memory), uint8(lanes), uint32(len(want)))
	return subtle.ConstantTimeCompare(got, want) == 1
}

// A gate lets people in by password. It hashes few passwords at once, since
// each takes 19 MiB, and makes whoever guesses wait longer each time.
type gate struct {
	hashing chan struct{}
	dummy   string // hashed for unknown names, so that they take as long

	mu     sync.Mutex
	misses map[string]*miss // by account and by address
}

type miss struct {
	count int
	until time.Time
}

const (
	freeMisses = 3               // wrong passwords of an account before there is a wait
	freeHouse  = 30              // and of an address, behind which a whole floor may sit
	longestBar = 5 * time.Minute // the wait doubles from one second to this
	maxMisses  = 10_000          // entries kept
	forgetMiss = 30 * time.Minute
)

func newGate() (*gate, error) {
	dummy, err := HashPassword("no such user has this")
	if err != nil {
		return nil, err
	}
	return &gate{
		hashing: make(chan struct{}, max(1, runtime.GOMAXPROCS(0))),
		dummy:   dummy,
		misses:  map[string]*miss{},
	}, nil
}

// The keys under which misses are counted begin so.
const (
	accountKey = "account "
	addressKey = "address "
)

// barred tells how long the account or the address must still wait.
func (g *gate) barred(now time.Time, keys ...string) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	var wait time.Duration
	for _, k := range keys {
		if m := g.misses[k]; m != nil {
			wait = max(wait, m.until.Sub(now))
		}
	}
	return wait
}

// check compares in constant time whether or not the user exists.
func (g *gate) check(ctx context.Context, stored, password string) (bool, error) {
	select {
	case g.hashing <- struct{}{}:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	defer func() { <-g.hashing }()
	known := stored != ""
	if !known {
		stored = g.dummy
	}
	return checkHash(stored, password) && known, nil
}

// hash is HashPassword, few at once.
func (g *gate) hash(ctx context.Context, password string) (string, error) {
	select {
	case g.hashing <- struct{}{}:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	defer func() { <-g.hashing }()
	return HashPassword(password)
}

// missed counts a wrong password against each key.
func (g *gate) missed(now time.Time, keys ...string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.misses) > maxMisses {
		for k, m := range g.misses {
			if now.Sub(m.until) > 0 {
				delete(g.misses, k)
			}
		}
	}
	for _, k := range keys {
		m := g.misses[k]
		if m == nil || now.Sub(m.until) > forgetMiss && m.count > freeMisses {
			m = &miss{}
			g.misses[k] = m
		}
		m.count++
		free := freeMisses
		if strings.HasPrefix(k, addressKey) {
			free = freeHouse
		}
		if over := m.count - free; over > 0 {
			m.until = now.Add(min(time.Second<<min(over-1, 16), longestBar))
		}
	}
}

// passed forgets the misses of an account.
func (g *gate) passed(key string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.misses, key)
}
