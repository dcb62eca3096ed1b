package campaign

import (
	"bufio"
	"bytes"
	"io"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"dialer"
	"dialer/compliance"
)

// The bounds of an uploaded list.
const (
	maxLine       = 64 << 10 // bytes of a line, and of a row that spans lines
	maxColumns    = 200
	maxName       = 100 // characters of a column's name
	maxExternalID = 200 // characters
	maxPriority   = 1000
	// leastProbability is what a lead counts with of which 0 is said.
	leastProbability = 0.001
	maxRejectText    = 500 // bytes of a rejected row that are kept for people
	defaultRows      = 5_000_000
)

// ReadOptions say how an uploaded list is to be read.
type ReadOptions struct {
	// Format is "csv" or "ndjson"; empty guesses by the first character.
	Format string
	// Encoding is "utf-8", "utf-16" or "windows-1252". Empty detects it: UTF-16
	// by its byte order mark; Windows-1252 when the first 64 kB hold bytes
	// beyond ASCII, none of them is part of a valid UTF-8 sequence and all are
	// characters of Windows-1252. Everything else must be UTF-8 to the end.
	Encoding string
	// Mapping says by header (or JSON key, in any case) what a column is:
	// "number", "external_id", "time_zone", "priority", "answer_probability", the
	// name of a custom field, or "-" to drop it. Headers that it does not name are recognised by
	// their usual names, or become custom fields.
	Mapping map[string]string
	// Region is where numbers without a country code belong, such as "US".
	Region string
	// MaxRows is the most rows; 0 means five million.
	MaxRows int
}

// A Row is one row of an uploaded list: a lead, or why it is none. The lead has
// what was uploaded and no ids.
type Row struct {
	Line   int // on which the row begins, from 1
	Lead   Lead
	Reject *Reject
}

// A Reject says why a row did not become a lead.
type Reject struct {
	Line   int    `json:"line"`
	Field  string `json:"field,omitempty"` // the column, empty when it is the whole row
	Reason string `json:"reason"`
	Text   string `json:"text"` // the row as it was read, cut when long
}

// ReadLeads reads an uploaded list row by row, in memory that does not grow
// with it. A row that cannot be a lead is yielded as a Reject and reading goes
// on. What makes the rest unreadable (NUL, wrong encoding, a huge line, a quote
// that is never closed, no number column, an empty file) is yielded once, as a
// *dialer.Error that names the line, and ends it; the reader's own errors
// likewise. Duplicates are for the store to find.
func ReadLeads(r io.Reader, opt ReadOptions) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		if opt.MaxRows <= 0 {
			opt.MaxRows = defaultRows
		}
		rows := 0
		limited := func(row Row, err error) bool {
			if err == nil {
				if rows++; rows > opt.MaxRows {
					yield(Row{}, atLine(row.Line, "the list has more than %d rows: split it", opt.MaxRows))
					return false
				}
			}
			return yield(row, err)
		}
		if err := readLeads(r, opt, limited); err != nil {
			yield(Row{}, err)
			return
		}
	}
}

// readLeads returns what ended the list before its end, nil when it was read to
// the end or the consumer had enough.
func readLeads(r io.Reader, opt ReadOptions, yield func(Row, error) bool) error {
	text, err := decodeText(r, opt.Encoding)
	if err != nil {
		return err
	}
	buffered := bufio.NewReaderSize(text, maxLine)
	head, err := buffered.Peek(4096)
	if err != nil && err != io.EOF {
		return err
	}
	start := bytes.TrimLeft(head, " \t\r\n")
	if len(start) == 0 {
		return dialer.Errorf(dialer.Invalid, "the file is empty: upload a list with a header line and a lead on each line")
	}
	lines := &lineReader{r: buffered}
	switch opt.Format {
	case "":
		if start[0] == '{' || start[0] == '[' {
			return readNDJSON(lines, opt, yield)
		}
		return readCSV(lines, opt, yield)
	case "csv":
		return readCSV(lines, opt, yield)
	case "ndjson":
		return readNDJSON(lines, opt, yield)
	}
	return dialer.Fieldf("format", "%q is not known: use csv or ndjson", clip(opt.Format, 20))
}

// atLine is an error about a place in the uploaded file.
func atLine(line int, format string, args ...any) *dialer.Error {
	return dialer.Errorf(dialer.Invalid, "line "+strconv.Itoa(line)+": "+format, args...)
}

// A column says what becomes of a value.
type column struct {
	role role
	name string // as uploaded, or as mapped
}

type role int

const (
	custom role = iota
	number
	externalID
	timeZone
	priority
	answerProbability
	dropped
)

// roles are the words of Mapping.
var roles = map[string]role{
	"number": number, "external_id": externalID, "time_zone": timeZone, "priority": priority,
	"answer_probability": answerProbability, "-": dropped,
}

// synonyms are the usual names of columns, best first: when several headers
// name the same role, the earliest here has it and the others are custom.
var synonyms = map[role][]string{
	number: {
		"number", "phone", "phone number", "telephone", "telephone number", "tel", "msisdn", "e164",
		"mobile", "mobile phone", "mobile number", "cell", "cell phone", "cellphone", "phone1", "phone 1",
		"primary phone", "home phone", "work phone", "contact number", "contact phone number", "telefon", "telefono",
	},
	externalID:        {"external id", "externalid", "vendor lead code", "lead id", "customer id", "contact id", "id"},
	timeZone:          {"time zone", "timezone", "tz", "zone"},
	priority:          {"priority", "rank"},
	answerProbability: {"answer probability"},
}

// plain brings a header to the form in which synonyms are written.
func plain(header string) string {
	return strings.Join(strings.FieldsFunc(strings.ToLower(header), func(r rune) bool {
		return r == ' ' || r == '_' || r == '-' || r == '.' || r == '\t' || r == '\u00a0'
	}), " ")
}

// columnsOf says what each header is.
func columnsOf(headers []string, mapping map[string]string) ([]column, *dialer.Error) {
	columns := make([]column, len(headers))
	taken := map[role]string{}
	mapped := make(map[string]string, len(mapping))
	for header, to := range mapping {
		mapped[strings.ToLower(strings.TrimSpace(header))] = strings.TrimSpace(to)
	}
	set := make([]bool, len(headers))
	for i, header := range headers {
		columns[i] = column{custom, header}
		to, ok := mapped[strings.ToLower(header)]
		if !ok || header == "" {
			continue
		}
		set[i] = true
		r, isRole := roles[strings.ToLower(to)]
		switch {
		case to == "":
			return nil, dialer.Fieldf("mapping", "of %q is empty: give number, external_id, time_zone, priority, answer_probability, a field name or -", header)
		case !isRole && utf8.RuneCountInString(to) > maxName:
			return nil, dialer.Fieldf("mapping", "of %q is longer than %d characters", header, maxName)
		case !isRole:
			columns[i].name = to
		case r != dropped && taken[r] != "":
			return nil, dialer.Fieldf("mapping", "both %q and %q are mapped to %s", taken[r], header, to)
		default:
			columns[i].role = r
			taken[r] = header
		}
	}
	for r, names := range synonyms {
		best := len(names)
		at := -1
		for i, header := range headers {
			if n := slices.Index(names, plain(header)); !set[i] && n >= 0 && n < best {
				best, at = n, i
			}
		}
		if at >= 0 && taken[r] == "" {
			columns[at].role = r
		}
	}
	return columns, nil
}

// A rowReader turns the values of rows into leads.
type rowReader struct {
	region string
	zones  map[string]error // seen zones
}

// maxZones bounds the memory of seen zones; there are about 600 real ones.
const maxZones = 2000

// put sets one value; a reason says what is wrong with it.
func (rr *rowReader) put(l *Lead, c column, value string) (reason string) {
	switch c.role {
	case number:
		n, err := compliance.ParseNumber(value, rr.region)
		if err != nil {
			return reasonOf(err)
		}
		l.Number = n
	case externalID:
		value = strings.TrimSpace(value)
		if utf8.RuneCountInString(value) > maxExternalID {
			return "is longer than " + strconv.Itoa(maxExternalID) + " characters"
		}
		l.ExternalID = value
	case timeZone:
		value = strings.TrimSpace(value)
		if value != "" && !rr.knownZone(value) {
			return strconv.Quote(clip(value, 60)) + " is not an IANA time zone, such as America/New_York"
		}
		l.Zone = value
	case priority:
		value = strings.TrimSpace(value)
		if value == "" {
			return ""
		}
		n, err := strconv.Atoi(value)
		if err != nil || n < -maxPriority || n > maxPriority {
			return strconv.Quote(clip(value, 60)) + " is not a whole number from -1000 to 1000"
		}
		l.Priority = n
	case answerProbability:
		value = strings.TrimSpace(value)
		if value == "" {
			return ""
		}
		p, err := strconv.ParseFloat(value, 64)
		if err != nil || !(p >= 0 && p <= 1) {
			return strconv.Quote(clip(value, 60)) + " is not a probability from 0 to 1, such as 0.12"
		}
		l.AnswerProbability = max(p, leastProbability)
	case custom:
		if c.name == "" || value == "" {
			return ""
		}
		if l.Fields == nil {
			l.Fields = make(map[string]string)
		}
		l.Fields[c.name] = value
	}
	return ""
}

// knownZone reports whether a zone exists. "Local" is not a person's zone.
func (rr *rowReader) knownZone(name string) bool {
	if err, seen := rr.zones[name]; seen {
		return err == nil
	}
	if strings.EqualFold(name, "local") || len(name) > 60 {
		return false
	}
	_, err := time.LoadLocation(name)
	if rr.zones == nil {
		rr.zones = make(map[string]error)
	}
	if len(rr.zones) < maxZones {
		rr.zones[name] = err
	}
	return err == nil
}

// reasonOf is the text of an error without its field.
func reasonOf(err error) string {
	if e, ok := err.(*dialer.Error); ok {
		return e.Message
	}
	return err.Error()
}

// reject is a row that is no lead.
func reject(line int, field, reason, text string) Row {
	return Row{Line: line, Reject: &Reject{Line: line, Field: field, Reason: reason, Text: clip(text, maxRejectText)}}
}

// clip cuts s to at most n bytes at a character's edge.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}
