package compliance

import (
	"strings"
	"unicode"

	"github.com/nyaruka/phonenumbers"

	"dialer"
)

// longestNumber is the most bytes that a written number may have.
const longestNumber = 64

// ParseNumber reads a number as people write it, with spaces, dots, dashes,
// brackets, a 00 or + prefix or "tel:". region, such as "US", is where a number
// without country code belongs; it may be empty when none is expected.
//
// Only numbers that exist in their country's numbering plan are accepted, and
// of these only those that reach a person at the usual price. The error is a
// *dialer.Error about the field "number" that says what is wrong.
func ParseNumber(s, region string) (dialer.Number, error) {
	digits, err := normalise(s)
	if err != nil {
		return "", err
	}
	region = strings.ToUpper(strings.TrimSpace(region))
	if region != "" && phonenumbers.GetCountryCodeForRegion(region) == 0 {
		return "", badNumber("cannot be read: %q is not a region, use two letters such as US", region)
	}
	if region == "" && !strings.HasPrefix(digits, "+") && !strings.HasPrefix(digits, "00") {
		return "", badNumber("%q has no country code: write it with + or set the default region", s)
	}
	n, err := phonenumbers.Parse(digits, region)
	if strings.HasPrefix(digits, "00") && (err != nil || !phonenumbers.IsValidNumber(n)) {
		// 00 is understood even where the country dials abroad with another prefix.
		if abroad, e := phonenumbers.Parse("+"+digits[2:], region); e == nil {
			n, err = abroad, nil
		}
	}
	if err != nil {
		return "", unreadable(s, digits, err)
	}
	if err := callable(s, region, n); err != nil {
		return "", err
	}
	e164 := dialer.Number(phonenumbers.Format(n, phonenumbers.E164))
	if !e164.Valid() {
		return "", badNumber("%q is not a number that can be dialed from abroad", s)
	}
	return e164, nil
}

func badNumber(format string, args ...any) error {
	return dialer.Fieldf("number", format, args...)
}

// normalise leaves an optional + and ASCII digits.
func normalise(s string) (string, error) {
	if len(s) > longestNumber {
		return "", badNumber("has %d characters, more than %d", len(s), longestNumber)
	}
	rest := strings.TrimLeft(strings.TrimSpace(s), "'") // a spreadsheet's mark of text
	if len(rest) >= 4 && strings.EqualFold(rest[:4], "tel:") {
		rest, _, _ = strings.Cut(rest[4:], ";") // RFC 3966 parameters
	}
	if rest == "" {
		return "", badNumber("is empty")
	}
	var out strings.Builder
	for _, r := range rest {
		switch {
		case r >= '0' && r <= '9':
			out.WriteRune(r)
		case r >= '０' && r <= '９': // full width
			out.WriteRune(r - '０' + '0')
		case r == '+' || r == '＋':
			if out.Len() > 0 {
				return "", badNumber("%q has a + that is not at the beginning", s)
			}
			out.WriteByte('+')
		case unicode.IsSpace(r), strings.ContainsRune(".-()[]/‐‑‒–—−\u200b\u200e\u202a\u202c\ufeff", r):
		case (r == 'e' || r == 'E') && strings.Contains(rest, "+") && out.Len() > 0:
			return "", badNumber("%q was rounded by a spreadsheet: format the column as text and export it again", s)
		case unicode.IsLetter(r):
			return "", badNumber("%q has letters: give digits only, without extension", s)
		case unicode.IsControl(r) || r == unicode.ReplacementChar:
			return "", badNumber("%q has a character that cannot be read", s)
		default:
			return "", badNumber("%q has the character %q, which no number has", s, r)
		}
	}
	if digits := strings.TrimPrefix(out.String(), "+"); digits == "" {
		return "", badNumber("%q has no digits", s)
	}
	return out.String(), nil
}

// unreadable says in our words why the number could not be taken apart.
func unreadable(s, digits string, err error) error {
	switch err {
	case phonenumbers.ErrInvalidCountryCode:
		return badNumber("%q begins with no known country code", s)
	case phonenumbers.ErrNumTooLong:
		return badNumber("%q is too long", s)
	}
	if len(digits) > 15 {
		return badNumber("%q is too long", s)
	}
	return badNumber("%q is too short", s)
}

// callable refuses what is no number of its country, or not a person's.
func callable(s, region string, n *phonenumbers.PhoneNumber) error {
	home := phonenumbers.GetRegionCodeForCountryCode(int(n.GetCountryCode()))
	place := home
	if region != "" && int(n.GetCountryCode()) == phonenumbers.GetCountryCodeForRegion(region) {
		place = region
	}
	switch phonenumbers.IsPossibleNumberWithReason(n) {
	case phonenumbers.TOO_SHORT:
		return badNumber("%q is too short for a number of region %s", s, place)
	case phonenumbers.TOO_LONG:
		return badNumber("%q is too long for a number of region %s", s, place)
	case phonenumbers.IS_POSSIBLE_LOCAL_ONLY:
		return badNumber("%q lacks the area code", s)
	}
	if home == phonenumbers.REGION_CODE_FOR_NON_GEO_ENTITY {
		return badNumber("%q belongs to no country (satellite, shared or premium service): it may not be called", s)
	}
	// To find the type is most of the work of reading a number, and done once: a
	// number is valid when it has one.
	kind := phonenumbers.GetNumberType(n)
	if kind == phonenumbers.UNKNOWN {
		return badNumber("%q is not a number of region %s", s, place)
	}
	if name, refused := refusedKinds[kind]; refused {
		return badNumber("%q is a %s number: it may not be called", s, name)
	}
	return nil
}

// refusedKinds are numbers behind which there is no person, or a price.
var refusedKinds = map[phonenumbers.PhoneNumberType]string{
	phonenumbers.PREMIUM_RATE:    "premium rate",
	phonenumbers.SHARED_COST:     "shared cost",
	phonenumbers.PERSONAL_NUMBER: "personal",
	phonenumbers.UAN:             "company-wide (UAN)",
	phonenumbers.PAGER:           "pager",
	phonenumbers.VOICEMAIL:       "voicemail",
}
