package compliance

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nyaruka/phonenumbers"

	"dialer"
)

func TestParseNumber(t *testing.T) {
	for _, c := range []struct {
		in, region string
		want       dialer.Number
		err        string // part of the message
	}{
		{"(202) 555-0123", "US", "+12025550123", ""},
		{"202.555.0123", "us", "+12025550123", ""},
		{" 1-202-555-0123\t", "US", "+12025550123", ""},
		{"+1 202 555 0123", "", "+12025550123", ""},
		{"+44 (0)20 7946 0958", "US", "+442079460958", ""},
		{"020 7946 0958", "GB", "+442079460958", ""},
		{"0044 20 7946 0958", "US", "+442079460958", ""},
		{"0044 20 7946 0958", "", "+442079460958", ""},
		{"0011 44 20 7946 0958", "AU", "+442079460958", ""},
		{"tel:+1-202-555-0123;ext=5", "", "+12025550123", ""},
		{"'+447911123456", "", "+447911123456", ""},
		{"＋４４7911123456", "", "+447911123456", ""},
		{"+44\u00a07911\u2011123\u200b456", "", "+447911123456", ""},
		{"030/901820", "DE", "+4930901820", ""},
		{"06 12 34 56 78", "FR", "+33612345678", ""},

		{"", "US", "", "is empty"},
		{"   ", "US", "", "is empty"},
		{"n/a", "US", "", "has letters"},
		{"--", "US", "", "has no digits"},
		{"2025550123", "", "", "has no country code"},
		{"2025550123", "Narnia", "", `"NARNIA" is not a region`},
		{"123", "US", "", "too short for a number of region US"},
		{"911", "US", "", "too short"},
		{"555-0123", "US", "", "lacks the area code"},
		{"+1 202 555 0123 4567", "", "", "too long"},
		{"000 000 0000", "US", "", "number"},
		{"123 456 7890", "US", "", "not a number of region US"},
		{"1-800-FLOWERS", "US", "", "has letters"},
		{"202 555 0123 x12", "US", "", "has letters"},
		{"4.47911E+11", "GB", "", "rounded by a spreadsheet"},
		{"202+5550123", "US", "", "a + that is not at the beginning"},
		{"202\x005550123", "US", "", "cannot be read"},
		{"202\xff5550123", "US", "", "cannot be read"},
		{"202*5550123", "US", "", `'*'`},
		{"+999 1234 5678", "", "", "no known country code"},
		{strings.Repeat("1", 65), "US", "", "more than 64"},
		{"900 555 1234", "US", "", "premium rate"},
		{"0845 46 40 000", "GB", "", "may not be called"},
		{"07011 123456", "GB", "", "personal"},
		{"+881 6 1234 5678", "", "", "satellite"},
		{"+870 773 111 632", "", "", "satellite"},
		{"+800 1234 5678", "", "", "belongs to no country"},
	} {
		got, err := ParseNumber(c.in, c.region)
		if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("ParseNumber(%q, %q) = %q, %v; want %q, error with %q", c.in, c.region, got, err, c.want, c.err)
		}
		if err != nil && dialer.CodeOf(err) != dialer.Invalid {
			t.Errorf("ParseNumber(%q): %v is not for users", c.in, err)
		}
	}
}

func FuzzParseNumber(f *testing.F) {
	for _, s := range []string{"(202) 555-0123", "0044 20 7946 0958", "tel:+1-202-555-0123;ext=5", "4.4E+11", "＋４４", "\xff", "+881612345678"} {
		f.Add(s, "US")
		f.Add(s, "")
	}
	f.Fuzz(func(t *testing.T, s, region string) {
		n, err := ParseNumber(s, region)
		if (n == "") != (err != nil) {
			t.Fatalf("ParseNumber(%q, %q) = %q, %v", s, region, n, err)
		}
		if err != nil {
			return
		}
		if !n.Valid() {
			t.Fatalf("%q is not E.164", n)
		}
		if again, err := ParseNumber(string(n), ""); err != nil || again != n {
			t.Fatalf("%q was accepted, then read as %q, %v", n, again, err)
		}
		if v := Check(Candidate{Number: n, Zone: "UTC", Hours: Default}, monday); v.Rule == "number" {
			t.Fatalf("%q was accepted and then refused: %s", n, v.Reason)
		}
	})
}

func BenchmarkParseNumber(b *testing.B) {
	for i := 0; b.Loop(); i++ {
		if _, err := ParseNumber(fmt.Sprintf("(212) 555-%04d", i%10_000), "US"); err != nil {
			b.Fatal(err)
		}
	}
}

// TestTypeMeansValid: what ParseNumber leaves out is no check less. The examples
// of every region, with digits changed, are valid just when they have a type.
func TestTypeMeansValid(t *testing.T) {
	valid := 0
	for region := range phonenumbers.GetSupportedRegions() {
		n := phonenumbers.GetExampleNumber(region)
		for _, change := range []uint64{0, 1, 5_000, 700_000, 30_000_000} {
			national := n.GetNationalNumber() ^ change
			n := &phonenumbers.PhoneNumber{CountryCode: n.CountryCode, NationalNumber: &national, ItalianLeadingZero: n.ItalianLeadingZero}
			is := phonenumbers.IsValidNumber(n)
			if is != (phonenumbers.GetNumberType(n) != phonenumbers.UNKNOWN) {
				t.Errorf("%s: %v", region, n)
			}
			if is {
				valid++
			}
		}
	}
	if valid < 200 {
		t.Errorf("only %d numbers were valid", valid)
	}
}
