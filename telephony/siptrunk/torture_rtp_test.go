package siptrunk

import (
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"dialer/telephony"
)

// TestTortureRTP: whatever the far end itself sends to the ports of its call, the
// call stays up and is heard afterwards.
func TestTortureRTP(t *testing.T) {
	c := up(t, nil)
	rtp := offeredRTP(t, c.invite)
	rtcp := netip.AddrPortFrom(rtp.Addr(), rtp.Port()+1)
	err := filepath.WalkDir(corpus(t, "rtp"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil || len(b) > 60_000 {
			return err
		}
		for _, to := range []netip.AddrPort{rtp, rtcp} {
			if _, err := c.rtp.conn.WriteToUDPAddrPort(b, to); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	stop := c.rtp.stream(rtp, telephony.EncodeULaw(8000))
	defer stop()
	for loud := 0; loud < 20; {
		f, err := c.leg.ReadFrame(t.Context())
		if err != nil {
			t.Fatalf("the call was lost: %v; %+v", err, c.leg.Info())
		}
		if f.Samples[0] > 4000 && f.Samples[len(f.Samples)-1] > 4000 {
			loud++
		}
	}
	stop()
	c.end(t, 1)
}
