package campaign

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"

	"dialer"
)

// decodeText returns r as UTF-8 without a byte order mark. Whether UTF-8 is
// valid is for lineReader to say, which knows the line.
func decodeText(r io.Reader, encoding string) (io.Reader, error) {
	b := bufio.NewReaderSize(r, maxLine)
	head, err := b.Peek(maxLine)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	utf16 := bytes.HasPrefix(head, []byte{0xff, 0xfe}) || bytes.HasPrefix(head, []byte{0xfe, 0xff})
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "":
		switch {
		case utf16:
			return decodeUTF16(b), nil
		case looksWindows1252(head):
			return charmap.Windows1252.NewDecoder().Reader(b), nil
		}
	case "utf-8", "utf8":
	case "utf-16", "utf16":
		return decodeUTF16(b), nil
	case "windows-1252", "cp1252", "iso-8859-1", "latin1":
		return charmap.Windows1252.NewDecoder().Reader(b), nil
	default:
		return nil, dialer.Fieldf("encoding", "%q is not known: use utf-8, utf-16 or windows-1252", clip(encoding, 20))
	}
	if bytes.HasPrefix(head, []byte("\xef\xbb\xbf")) {
		if _, err := b.Discard(3); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// decodeUTF16 goes by the byte order mark, and without one takes little endian,
// as spreadsheets write it.
func decodeUTF16(r io.Reader) io.Reader {
	return unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewDecoder().Reader(r)
}

// looksWindows1252 is the rule that ReadOptions.Encoding tells.
func looksWindows1252(head []byte) bool {
	beyond := false
	for len(head) > 0 {
		r, size := utf8.DecodeRune(head)
		switch {
		case r == utf8.RuneError && size == 1:
			if !utf8.FullRune(head) && len(head) < utf8.UTFMax {
				return beyond // the head may end inside a character
			}
			if c := charmap.Windows1252.DecodeByte(head[0]); c < 0xa0 || c == utf8.RuneError { // a control, or undefined there
				return false
			}
			beyond = true
		case size > 1 || r == 0:
			return false
		}
		head = head[size:]
	}
	return beyond
}

// A lineReader hands out the text in pieces that end at lines, after a check of
// each line: its length, its characters, no NUL. It counts what it has handed
// out since the last row, so that a quote that is never closed cannot gather
// the rest of the file.
type lineReader struct {
	r       *bufio.Reader // of maxLine bytes
	line    int           // number of the line last read
	rest    []byte        // of that line, not yet handed out
	pending int           // bytes handed out since rowRead
	err     error
}

// errRowTooLong says that a row spans more than maxLine bytes.
var errRowTooLong = errors.New("row too long")

// ReadLine returns the next line with its end; io.EOF after the last one.
func (l *lineReader) ReadLine() ([]byte, error) {
	b, err := l.r.ReadSlice('\n')
	if len(b) == 0 && err != nil {
		return nil, err
	}
	l.line++
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, atLine(l.line, "has more than %d kB: is this a list with a lead on each line?%s", maxLine>>10, carriageReturns(b))
	case err != nil && !errors.Is(err, io.EOF):
		return nil, err
	case bytes.IndexByte(b, 0) >= 0:
		return nil, atLine(l.line, "has a NUL byte: this is not a text file, or UTF-16 without a byte order mark; save the list as UTF-8")
	case !utf8.Valid(b):
		return nil, atLine(l.line, "is not UTF-8: save the list as UTF-8, or declare the encoding windows-1252")
	}
	return b, nil
}

// carriageReturns is a hint for files with the line ends of old Macintoshes.
func carriageReturns(b []byte) string {
	if bytes.IndexByte(b, '\r') >= 0 {
		return " Its lines seem to end with CR alone: save it with LF or CRLF"
	}
	return ""
}

// Read implements io.Reader for a parser of rows that span lines.
func (l *lineReader) Read(p []byte) (int, error) {
	if l.err != nil {
		return 0, l.err
	}
	if len(l.rest) == 0 {
		if l.pending > maxLine {
			l.err = errRowTooLong
			return 0, l.err
		}
		if l.rest, l.err = l.ReadLine(); l.err != nil {
			return 0, l.err
		}
	}
	n := copy(p, l.rest)
	l.rest = l.rest[n:]
	l.pending += n
	return n, nil
}

// rowRead tells that a row has been taken from what was handed out.
func (l *lineReader) rowRead() { l.pending = 0 }
