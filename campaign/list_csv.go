package campaign

import (
	"bufio"
	"encoding/csv"
	"errors"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"dialer"
	"dialer/compliance"
)

// readCSV reads rows by RFC 4180, with a comma, semicolon, tab or bar between
// columns, whichever the header line has most of.
func readCSV(lines *lineReader, opt ReadOptions, yield func(Row, error) bool) error {
	head, err := lines.r.Peek(maxLine)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	cr := csv.NewReader(bufio.NewReader(lines))
	cr.Comma = delimiter(head)
	cr.FieldsPerRecord = -1
	cr.ReuseRecord = true
	c := &csvRows{lines: lines, cr: cr, yield: yield}
	for range runtime.GOMAXPROCS(0) {
		c.readers = append(c.readers, &rowReader{region: opt.Region})
	}
	if err := c.header(opt); err != nil {
		return err
	}
	return c.rows()
}

// delimiter is the likeliest separator of the header line's columns.
func delimiter(head []byte) rune {
	counts := map[byte]int{}
	quoted := false
	for _, b := range head {
		if b == '"' {
			quoted = !quoted
		}
		if b == '\n' && !quoted && len(counts) > 0 {
			break
		}
		if !quoted && strings.IndexByte(",;\t|", b) >= 0 {
			counts[b]++
		}
	}
	best := byte(',')
	for _, b := range []byte(";\t|") {
		if counts[b] > counts[best] {
			best = b
		}
	}
	return rune(best)
}

// csvRows is the reading of one CSV file.
type csvRows struct {
	lines   *lineReader
	cr      *csv.Reader
	columns []column
	readers []*rowReader // one for each processor
	yield   func(Row, error) bool
}

func (c *csvRows) header(opt ReadOptions) error {
	record, err := c.cr.Read()
	if err != nil {
		return c.structural(err, 1)
	}
	line, _ := c.cr.FieldPos(0)
	if len(record) > maxColumns {
		return atLine(line, "has %d columns, more than %d", len(record), maxColumns)
	}
	headers := make([]string, len(record))
	seen := map[string]bool{}
	for i, h := range record {
		h = strings.TrimSpace(h)
		if utf8.RuneCountInString(h) > maxName {
			return atLine(line, "the name of column %d is longer than %d characters", i+1, maxName)
		}
		if low := strings.ToLower(h); h != "" && seen[low] {
			return atLine(line, "the header %q stands twice: give each column its own name", h)
		} else {
			seen[low] = true
		}
		headers[i] = h
	}
	for header := range opt.Mapping {
		if !seen[strings.ToLower(strings.TrimSpace(header))] {
			return dialer.Fieldf("mapping", "names the header %q, which the list does not have; it has %s", clip(header, maxName), found(headers))
		}
	}
	columns, mistake := columnsOf(headers, opt.Mapping)
	if mistake != nil {
		return mistake
	}
	for _, col := range columns {
		if col.role == number {
			c.columns = columns
			return nil
		}
	}
	for _, h := range headers {
		if _, err := compliance.ParseNumber(h, opt.Region); err == nil {
			return atLine(line, "is a lead and not a header: put a line with the names of the columns before it, such as number,name")
		}
	}
	return atLine(line, "no column holds the phone number: name one \"number\" or map it; the headers are %s", found(headers))
}

// found lists headers for people.
func found(headers []string) string {
	return clip("\""+strings.Join(headers, "\", \"")+"\"", 400)
}

// batch is how many records are turned into leads at once: the parsing of numbers
// is most of an upload's work, and the processors share it.
const batch = 256

// A csvRecord is a record read, or a row that says why it is none.
type csvRecord struct {
	line   int
	fields []string
	row    Row
	broken bool // row says why it is no lead
}

func (c *csvRows) rows() error {
	read := make([]csvRecord, 0, batch)
	count := 0
	for {
		c.lines.rowRead()
		record, err := c.cr.Read()
		var broken *csv.ParseError
		switch {
		case errors.Is(err, io.EOF):
			if !c.hand(read) {
				return nil
			}
			if count == 0 {
				return dialer.Errorf(dialer.Invalid, "the list has a header line but no leads")
			}
			return nil
		case errors.As(err, &broken) && broken.StartLine == broken.Line && !c.atEnd(broken):
			row := reject(broken.StartLine, "", "a quote stands inside a value: double it, and put the value in quotes", strings.Join(record, string(c.cr.Comma)))
			read = append(read, csvRecord{row: row, broken: true})
		case err != nil:
			line := c.lines.line
			if !c.hand(read) {
				return nil
			}
			return c.structural(err, line)
		default:
			line, _ := c.cr.FieldPos(0)
			read = append(read, csvRecord{line: line, fields: slices.Clone(record)})
		}
		count++
		if len(read) == batch {
			if !c.hand(read) {
				return nil
			}
			read = read[:0]
		}
	}
}

// hand turns records into rows, on all processors, and yields them in order. It
// reports whether more are wanted.
func (c *csvRows) hand(read []csvRecord) bool {
	var work sync.WaitGroup
	share := (len(read) + len(c.readers) - 1) / len(c.readers)
	for i, rr := range c.readers {
		part := read[min(i*share, len(read)):min((i+1)*share, len(read))]
		work.Go(func() {
			for j := range part {
				if r := &part[j]; !r.broken {
					r.row = c.guarded(rr, r.line, r.fields)
				}
			}
		})
	}
	work.Wait()
	for i := range read {
		if !c.yield(read[i].row, nil) {
			return false
		}
	}
	return true
}

// atEnd reports whether a quote was still open when the file ended.
func (c *csvRows) atEnd(e *csv.ParseError) bool {
	if !errors.Is(e.Err, csv.ErrQuote) {
		return false
	}
	b, err := c.lines.r.Peek(1)
	return len(b) == 0 && err != nil && len(c.lines.rest) == 0 && e.Line >= c.lines.line
}

// structural says what ended the reading.
func (c *csvRows) structural(err error, line int) error {
	var broken *csv.ParseError
	switch {
	case errors.Is(err, errRowTooLong):
		return atLine(line, "this row has more than %d kB: a quote before it is probably never closed", maxLine>>10)
	case errors.As(err, &broken):
		return atLine(broken.StartLine, "a quote is not closed (seen at line %d): every quote inside a value must be doubled", broken.Line)
	case errors.Is(err, io.EOF):
		return dialer.Errorf(dialer.Invalid, "the file is empty: upload a list with a header line and a lead on each line")
	}
	return err
}

// guarded is row on a goroutine of our own, where a panic would end the process.
func (c *csvRows) guarded(rr *rowReader, line int, record []string) (row Row) {
	defer func() {
		if recover() != nil {
			row = reject(line, "", "cannot be read: please report it", strings.Join(record, string(c.cr.Comma)))
		}
	}()
	return c.row(rr, line, record)
}

// row makes a lead of a record.
func (c *csvRows) row(rr *rowReader, line int, record []string) Row {
	text := func() string { return strings.Join(record, string(c.cr.Comma)) }
	if len(record) != len(c.columns) {
		return reject(line, "", "has "+plural(len(record), "column")+", the header has "+plural(len(c.columns), "column"), text())
	}
	lead := Lead{State: Dialable}
	for i, col := range c.columns {
		if reason := rr.put(&lead, col, record[i]); reason != "" {
			return reject(line, col.name, reason, text())
		}
	}
	return Row{Line: line, Lead: lead}
}
