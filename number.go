package dialer

// A Number is a telephone number in E.164 form: "+" and 7 to 15 digits.
type Number string

// Valid reports whether n has the form of E.164. Whether the number exists and
// may be called is for compliance to say.
func (n Number) Valid() bool {
	if len(n) < 8 || len(n) > 16 || n[0] != '+' || n[1] == '0' {
		return false
	}
	for i := 1; i < len(n); i++ {
		if n[i] < '0' || n[i] > '9' {
			return false
		}
	}
	return true
}

// Masked returns the number with all but the last four digits hidden, for logs.
func (n Number) Masked() string {
	if len(n) <= 4 {
		return "****"
	}
	return "****" + string(n[len(n)-4:])
}
