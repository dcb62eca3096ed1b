package main

import (
	"context"
	"encoding/binary"
	"encoding/csv"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"dialer"
	"dialer/amd"
	"dialer/campaign"
	"dialer/postgres"
	"dialer/telephony"
)

type amdExportCmd struct {
	configFlags
	Campaign string    `required:"" help:"Id of the campaign (cmp_…); its detection.consent must be on."`
	From     time.Time `help:"Calls placed at or after (2026-01-31)." format:"2006-01-02" placeholder:"DATE"`
	To       time.Time `help:"Calls placed before." format:"2006-01-02" placeholder:"DATE"`
	Dir      string    `arg:"" help:"New folder for the recordings and manifest.csv." type:"path"`
}

func (c amdExportCmd) Run(ctx context.Context, t *terminal) error {
	l, err := c.load(t, nil, false)
	if err != nil {
		return err
	}
	return c.with(ctx, t, false, func(db *postgres.DB) error {
		found, err := db.GetCampaign(ctx, dialer.CampaignID(c.Campaign))
		if err != nil {
			return err
		}
		if !found.Settings.Detection.Consent {
			return fmt.Errorf("%s has no consent: set detection.consent once the people called have agreed, or the law allows, that their first seconds are used for training", found.Settings.Name)
		}
		if err := os.Mkdir(c.Dir, 0o750); err != nil {
			return fmt.Errorf("the folder must be new: %w", err)
		}
		e := export{
			recordings: os.DirFS(l.recordings()), dir: c.Dir,
			list: func(after dialer.CallID) ([]campaign.Call, error) {
				return db.ListCalls(ctx, campaign.CallFilter{Campaign: found.ID, Kept: true, From: c.From, To: c.To}, after, 1000)
			},
		}
		if err := e.run(); err != nil {
			return err
		}
		fmt.Fprintf(t.out, "%d recordings, %d without a label and %d lost are left out: %s\n",
			e.written, e.unlabelled, e.lost, filepath.Join(c.Dir, "manifest.csv"))
		return nil
	})
}

// An export writes labelled recordings with a manifest that dialer amd eval reads.
type export struct {
	recordings fs.FS
	dir        string
	// list returns the calls after one, the newest first.
	list func(after dialer.CallID) ([]campaign.Call, error)

	written, unlabelled, lost int
}

// manifestColumns are those of every manifest of recordings.
var manifestColumns = []string{
	"file", "label", "subtype", "lang", "voice", "real_audio", "source", "licence", "redistributable", "group", "duration_s",
	"speech_start_s", "greeting_end_s", "beep_start_s", "beep_end_s", "beep_hz", "codec", "peak_dbfs", "noise", "snr_db", "loss_pct",
	"speech_segments", "note",
}

func (e *export) run() error {
	f, err := os.OpenFile(filepath.Join(e.dir, "manifest.csv"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	out := csv.NewWriter(f)
	err = out.Write(manifestColumns)
	for after := dialer.CallID(""); err == nil; {
		var calls []campaign.Call
		if calls, err = e.list(after); len(calls) == 0 {
			break
		}
		for _, c := range calls {
			if err = e.add(out, c); err != nil {
				break
			}
		}
		after = calls[len(calls)-1].ID
	}
	out.Flush()
	return errors.Join(err, out.Error(), f.Close())
}

// add writes one call, if it is known who answered and its seconds are there.
func (e *export) add(out *csv.Writer, c campaign.Call) error {
	label, by := labelOf(c)
	if label == "" {
		e.unlabelled++
		return nil
	}
	name := path.Clean(c.Heard.Kept)
	if !fs.ValidPath(name) {
		e.lost++
		return nil
	}
	file, err := e.recordings.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		e.lost++
		return nil
	}
	if err != nil {
		return err
	}
	clip, err := telephony.ReadWAV(file, name) // the left side: nobody but the one called
	file.Close()
	if err != nil {
		e.lost++
		return nil
	}
	wav := string(c.ID) + ".wav"
	if err := os.WriteFile(filepath.Join(e.dir, wav), pcm(clip.Samples), 0o640); err != nil {
		return err
	}
	e.written++
	row := map[string]string{
		"file": wav, "label": label, "voice": "caller", "real_audio": "yes", "source": string(c.Campaign), "licence": "private",
		"redistributable": "no", "group": string(c.Lead), "codec": c.Media.Codec,
		"duration_s": fmt.Sprintf("%.2f", clip.Duration().Seconds()), "peak_dbfs": fmt.Sprintf("%.1f", peak(clip.Samples)),
		"loss_pct": strconv.FormatFloat(math.Round(1000*c.Media.Loss())/10, 'f', 1, 64), "note": "labelled by " + by + "; called " + c.Verdict,
	}
	record := make([]string, len(manifestColumns))
	for i, column := range manifestColumns {
		record[i] = row[column]
	}
	return out.Write(record)
}

// labelOf is what is known of who answered, and by whom. An agent's word says who
// was talked to, which is not what answered where somebody was put through.
func labelOf(c campaign.Call) (label, by string) {
	switch {
	case c.Heard.Label != "":
		return c.Heard.Label, "ear"
	case c.AnsweredBySource != "agent" || slices.Contains([]amd.Verdict{amd.Screening, amd.Ringback, amd.Music}, amd.Verdict(c.Verdict)):
		return "", ""
	case c.AnsweredBy == "person":
		return "human", "an agent"
	case c.AnsweredBy == "machine" || c.AnsweredBy == "fax":
		return c.AnsweredBy, "an agent"
	}
	return "", ""
}

// pcm is a mono WAV file at 8 kHz, 16 bit.
func pcm(samples []int16) []byte {
	size := uint32(2 * len(samples))
	b := make([]byte, 0, 44+size)
	b = append(b, "RIFF"...)
	b = binary.LittleEndian.AppendUint32(b, 36+size)
	b = append(b, "WAVEfmt "...)
	b = binary.LittleEndian.AppendUint32(b, 16)
	for _, v := range []uint16{1, 1} { // PCM, mono
		b = binary.LittleEndian.AppendUint16(b, v)
	}
	b = binary.LittleEndian.AppendUint32(b, 8000)
	b = binary.LittleEndian.AppendUint32(b, 16000)
	b = binary.LittleEndian.AppendUint16(b, 2)
	b = binary.LittleEndian.AppendUint16(b, 16)
	b = append(b, "data"...)
	b = binary.LittleEndian.AppendUint32(b, size)
	for _, s := range samples {
		b = binary.LittleEndian.AppendUint16(b, uint16(s))
	}
	return b
}

// peak is the level of the loudest sample in dB of full scale.
func peak(samples []int16) float64 {
	loudest := 1.0
	for _, s := range samples {
		loudest = max(loudest, math.Abs(float64(s)))
	}
	return 20 * math.Log10(loudest/32768)
}
