package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net/url"

	"github.com/jackc/pgx/v5"

	"dialer/telephony/siptrunk/siptest"
)

// freshDatabase makes an empty database for this run on the demo's server: the
// server stays from run to run, which makes the second start quick.
func freshDatabase(ctx context.Context, server string) (string, error) {
	conn, err := pgx.Connect(ctx, server)
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	for _, sql := range []string{`DROP DATABASE IF EXISTS demo WITH (FORCE)`, `CREATE DATABASE demo`} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return "", fmt.Errorf("a fresh database for the demo: %w", err)
		}
	}
	u, err := url.Parse(server)
	if err != nil {
		return "", err
	}
	u.Path = "/demo"
	return u.String(), nil
}

// demoMessage is the message for abandoned calls, as a manager would upload it:
// a WAV file of 16 bit mono at 8 kHz.
func demoMessage() []byte {
	clip, _ := siptest.Clip("abandoned") // embedded
	size := uint32(2 * len(clip.Samples))
	var b bytes.Buffer
	put := func(v any) { binary.Write(&b, binary.LittleEndian, v) }
	b.WriteString("RIFF")
	put(36 + size)
	b.WriteString("WAVEfmt ")
	put(uint32(16))
	put([]uint16{1, 1}) // PCM, mono
	put([]uint32{8000, 16000})
	put([]uint16{2, 16})
	b.WriteString("data")
	put(size)
	put(clip.Samples)
	return b.Bytes()
}
