package campaign

import (
	"bufio"
	"encoding/csv"
	"errors"
	"io"
	"strings"
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
	c := &csvRows{lines: lines, cr: cr, rr: rowReader{region: opt.Region}, yield: yield}
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
	rr      rowReader
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

func (c *csvRows) rows() error {
	count := 0
	for {
		c.lines.rowRead()
		record, err := c.cr.Read()
		if errors.Is(err, io.EOF) {
			if count == 0 {
				return dialer.Errorf(dialer.Invalid, "the list has a header line but no leads")
			}
			return nil
		}
		row := Row{}
		var broken *csv.ParseError
		switch {
		case errors.As(err, &broken) && broken.StartLine == broken.Line && !c.atEnd(broken):
			row = reject(broken.StartLine, "", "a quote stands inside a value: double it, and put the value in quotes", strings.Join(record, string(c.cr.Comma)))
		case err != nil:
			return c.structural(err, c.lines.line)
		default:
			line, _ := c.cr.FieldPos(0)
			row = c.row(line, record)
		}
		count++
		if !c.yield(row, nil) {
			return nil
		}
	}
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

// row makes a lead of a record, whose memory is used again for the next one.
func (c *csvRows) row(line int, record []string) Row {
	text := func() string { return strings.Join(record, string(c.cr.Comma)) }
	if len(record) != len(c.columns) {
		return reject(line, "", "has "+plural(len(record), "column")+", the header has "+plural(len(c.columns), "column"), text())
	}
	lead := Lead{State: Dialable}
	for i, col := range c.columns {
		if reason := c.rr.put(&lead, col, record[i]); reason != "" {
			return reject(line, col.name, reason, text())
		}
	}
	return Row{Line: line, Lead: lead}
}
