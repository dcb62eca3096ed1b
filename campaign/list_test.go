package campaign

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dialer"
)

func readAll(r io.Reader, opt ReadOptions) (leads []Lead, rejects []Reject, err error) {
	for row, e := range ReadLeads(r, opt) {
		switch {
		case e != nil:
			err = e
		case row.Reject != nil:
			rejects = append(rejects, *row.Reject)
		default:
			leads = append(leads, row.Lead)
		}
	}
	return leads, rejects, err
}

func TestReadLeadsForms(t *testing.T) {
	want := []Lead{
		{State: Dialable, Number: "+12025550143", ExternalID: "7", Zone: "America/New_York", Priority: 3, Fields: map[string]string{"Name": "Zoë"}},
	}
	csv := "Phone,ID,Time Zone,Priority,Name\n(202) 555-0143,7,America/New_York,3,Zoë\n"
	utf16 := []byte{0xff, 0xfe}
	for _, r := range csv {
		utf16 = append(utf16, byte(r), byte(r>>8))
	}
	for name, in := range map[string]struct {
		text string
		opt  ReadOptions
	}{
		"comma":           {text: csv},
		"semicolon":       {text: strings.ReplaceAll(csv, ",", ";")},
		"tab":             {text: strings.ReplaceAll(csv, ",", "\t")},
		"bar":             {text: strings.ReplaceAll(csv, ",", "|")},
		"crlf":            {text: strings.ReplaceAll(csv, "\n", "\r\n")},
		"no last newline": {text: strings.TrimSuffix(csv, "\n")},
		"byte order mark": {text: "\ufeff" + csv},
		"utf-16":          {text: string(utf16)},
		"windows-1252":    {text: strings.ReplaceAll(csv, "ë", "\xeb")},
		"declared":        {text: strings.ReplaceAll(csv, "ë", "\xeb"), opt: ReadOptions{Encoding: "windows-1252"}},
		"mapped": {
			text: "A,B,C,D,E,Phone\n2025550143,7,America/New_York,3,Zoë,dropped\n",
			opt:  ReadOptions{Mapping: map[string]string{"a": "number", "B": "external_id", "c": "time_zone", "d": "priority", "e": "Name", "phone": "-"}},
		},
		"ndjson": {text: `{"phone":"202-555-0143","id":7,"tz":"America/New_York","priority":3,"Name":"Zoë"}` + "\n"},
		"ndjson mapped": {
			text: "\n" + `{"A":2025550143,"id":"7","tz":"America/New_York","priority":"3","N":"Zoë","Nothing":null}` + "\n",
			opt:  ReadOptions{Mapping: map[string]string{"A": "number", "N": "Name"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			in.opt.Region = "US"
			leads, rejects, err := readAll(strings.NewReader(in.text), in.opt)
			if err != nil || rejects != nil {
				t.Fatalf("rejects %v, error %v", rejects, err)
			}
			if diff := cmp.Diff(want, leads); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestReadLeadsRejectsRows(t *testing.T) {
	in := "number,tz,name\n" +
		"12,,short\n" +
		"+12025550143,Mars/Olympus,zone\n" +
		"+12025550143,,\"two\nlines\"\n" +
		"+12025550143,few\n" +
		"+12025550143,,a,b\n" +
		"+12025550143,,a \"quote\" inside\n" +
		"+12025550144,,good\n"
	leads, rejects, err := readAll(strings.NewReader(in), ReadOptions{Region: "US"})
	if err != nil {
		t.Fatal(err)
	}
	if len(leads) != 2 || leads[0].Fields["name"] != "two\nlines" || leads[1].Fields["name"] != "good" {
		t.Errorf("leads %v", leads)
	}
	want := []struct {
		line         int
		field, words string
	}{
		{2, "number", "too short"},
		{3, "tz", "IANA"},
		{6, "", "2 columns, the header has 3"},
		{7, "", "4 columns"},
		{8, "", "double it"},
	}
	if len(rejects) != len(want) {
		t.Fatalf("%d rejects, want %d: %v", len(rejects), len(want), rejects)
	}
	for i, w := range want {
		if r := rejects[i]; r.Line != w.line || r.Field != w.field || !strings.Contains(r.Reason, w.words) || r.Text == "" && i < 4 {
			t.Errorf("reject %+v, want line %d, field %q, reason with %q", r, w.line, w.field, w.words)
		}
	}

	_, rejects, err = readAll(strings.NewReader(`{"number":"+12025550143","a":1,"a":2}
{"number":"+12025550143","a":{"b":1}}
{"name":"no number"}
{"number":"+12025550143"} {}
{"number":
[1]
"x"
`), ReadOptions{})
	if err != nil || len(rejects) != 7 {
		t.Fatalf("%d rejects (%v), error %v", len(rejects), rejects, err)
	}
	for i, words := range []string{"twice", "nested", "no key holds", "follows", "JSON", "not a JSON object", "not a JSON object"} {
		if !strings.Contains(rejects[i].Reason, words) || rejects[i].Line != i+1 {
			t.Errorf("reject %+v, want line %d and %q", rejects[i], i+1, words)
		}
	}
}

func TestReadLeadsEndsOnUnreadableFiles(t *testing.T) {
	const good = "number,name\n+12025550143,A\n"
	for name, in := range map[string]struct {
		text  string
		opt   ReadOptions
		words string
	}{
		"empty":                          {"", ReadOptions{}, "empty"},
		"blank":                          {"\n \r\n", ReadOptions{}, "empty"},
		"only a header":                  {"number,name\n", ReadOptions{}, "no leads"},
		"NUL":                            {good + "+1\x00,B\n", ReadOptions{}, "line 3: has a NUL"},
		"utf-16 without mark":            {"n\x00u\x00m\x00", ReadOptions{}, "line 1: has a NUL"},
		"not utf-8":                      {good + strings.Repeat("+12025550143,"+strings.Repeat("A", 300)+"\n", 300) + "+12025550143,Zo\xeb\n", ReadOptions{}, "line 303: is not UTF-8"},
		"mixed encodings":                {good + "+12025550143,Zoë\n+12025550143,Zo\xeb\n", ReadOptions{}, "line 4: is not UTF-8"},
		"shift jis":                      {good + "+12025550143,\x8f\x90\x81\x40\n", ReadOptions{}, "line 3: is not UTF-8"},
		"huge line":                      {good + "+12025550143," + strings.Repeat("x", 10<<20), ReadOptions{}, "line 3: has more than 64 kB"},
		"huge line, ndjson":              {`{"number":"+12025550143"}` + "\n" + `{"x":"` + strings.Repeat("x", 10<<20), ReadOptions{}, "line 2: has more than 64 kB"},
		"old Macintosh":                  {strings.Repeat("number\r2025550143\r", 10000), ReadOptions{}, "CR alone"},
		"open quote":                     {good + "+12025550143,\"B\n+12025550143,C\n", ReadOptions{}, "line 3: a quote is not closed"},
		"open quote, last":               {good + "+12025550143,\"B", ReadOptions{}, "line 3: a quote is not closed"},
		"open quote, long":               {good + "+12025550143,\"B\n" + strings.Repeat("+12025550143,C\n", 20000), ReadOptions{}, "64 kB: a quote"},
		"open quote, closed by the next": {good + "+12025550143,\"B\n+12025550144,\"C\"\n", ReadOptions{}, "line 3: a quote is not closed"},
		"columns":                        {strings.Repeat("a,", 250) + "number\n1", ReadOptions{}, "251 columns"},
		"no number":                      {"first,last\nA,B\n", ReadOptions{}, `the headers are "first", "last"`},
		"no header":                      {"+12025550143,B\n", ReadOptions{}, "is a lead and not a header"},
		"doubled header":                 {"number,Name,name\n", ReadOptions{}, "stands twice"},
		"mapping":                        {good, ReadOptions{Mapping: map[string]string{"Tel": "number"}}, `"Tel"`},
		"mapped twice":                   {good, ReadOptions{Mapping: map[string]string{"number": "number", "name": "number"}}, "mapped to number"},
		"array":                          {"[\n{}]", ReadOptions{}, "array"},
		"indented":                       {"{\n\"number\": 1\n}", ReadOptions{}, "line of its own"},
		"format":                         {good, ReadOptions{Format: "xlsx"}, "use csv or ndjson"},
		"encoding":                       {good, ReadOptions{Encoding: "ebcdic"}, "use utf-8"},
		"too many rows":                  {good + "+12025550143,B\n", ReadOptions{MaxRows: 1}, "more than 1 rows"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := readAll(strings.NewReader(in.text), in.opt)
			if err == nil || dialer.CodeOf(err) != dialer.Invalid || !strings.Contains(err.Error(), in.words) {
				t.Errorf("error %q, want one with %q", err, in.words)
			}
			if err != nil && len(err.Error()) > 1000 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
		})
	}
}

// Every file of the hostile corpus is read to its end: leads, rejects or one
// clear refusal, and all rows accounted for.
func TestReadLeadsTorture(t *testing.T) {
	root := shared(t, "torture")
	files := 0
	for _, dir := range []string{"csv", "json", "utf8", "strings", "phone"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			files++
			for _, opt := range []ReadOptions{{Region: "US"}, {Format: "csv", Region: "US"}, {Format: "ndjson"}, {Encoding: "windows-1252"}} {
				_, rejects, err := readAll(bytes.NewReader(data), opt)
				if err != nil && dialer.CodeOf(err) != dialer.Invalid {
					t.Errorf("%s: %v is not a refusal", path, err)
				}
				for _, r := range rejects {
					if r.Line < 1 || r.Reason == "" {
						t.Errorf("%s: a reject without line or reason: %+v", path, r)
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d files", files)
}

// shared is a folder of the corpora kept beside the repository.
func shared(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join("..", "..", "shared", name)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("SKIPPED: the corpus %s is not on this machine", path)
	}
	return path
}

func FuzzReadLeads(f *testing.F) {
	f.Add([]byte("number,name\n+12025550143,A\n"), "")
	f.Add([]byte("phone;tz;priority\n2025550143;Europe/Berlin;1\n\"a\nb\";x;y\n"), "csv")
	f.Add([]byte("\xff\xfen\x00u\x00"), "")
	f.Add([]byte(`{"number":"+12025550143","a":[1],"b":null}`+"\n{\"a\":1,\"a\":2}\n"), "ndjson")
	f.Add([]byte("number\n\"open\n"), "csv")
	f.Fuzz(func(t *testing.T, data []byte, format string) {
		if format != "csv" && format != "ndjson" {
			format = ""
		}
		last := 0
		ended := false
		for row, err := range ReadLeads(bytes.NewReader(data), ReadOptions{Format: format, Region: "US"}) {
			if ended {
				t.Fatal("a row after the end")
			}
			if err != nil {
				if dialer.CodeOf(err) != dialer.Invalid {
					t.Fatalf("%v is not a refusal", err)
				}
				ended = true
				continue
			}
			if row.Line <= last {
				t.Fatalf("line %d after %d", row.Line, last)
			}
			last = row.Line
			if row.Reject == nil && !row.Lead.Number.Valid() {
				t.Fatalf("lead with number %q", row.Lead.Number)
			}
			if row.Reject != nil && (row.Reject.Reason == "" || len(row.Reject.Text) > maxRejectText+len("…")) {
				t.Fatalf("reject %+v", row.Reject)
			}
		}
	})
}
