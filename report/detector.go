package report

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"dialer"
	"dialer/compliance"
)

// A DetectorReport is the error of the answering-machine detector, measured in
// the campaign's own calls placed in [From, To). Its JSON form is part of the API.
type DetectorReport struct {
	Campaign    dialer.CampaignID `json:"campaign_id"`
	From        time.Time         `json:"from,omitzero"`
	To          time.Time         `json:"to,omitzero"`
	GeneratedAt time.Time         `json:"generated_at"`
	DetectorFigures
	Trunks []TrunkDetector `json:"trunks"` // each carrier
}

// TrunkDetector is the error on the calls of one trunk.
type TrunkDetector struct {
	Trunk dialer.TrunkID `json:"trunk_id"`
	DetectorFigures
}

// DetectorFigures are the error with what it was computed from.
type DetectorFigures struct {
	compliance.DetectorError
	Verdicts []VerdictCount `json:"verdicts"`
}

// A VerdictCount is how many answered calls had a verdict, and how many of these
// are known to have been persons, or not.
type VerdictCount struct {
	Verdict string `json:"verdict"`
	Calls   int    `json:"calls"`
	Persons int    `json:"persons"`
	Others  int    `json:"others"`
	Unknown int    `json:"unknown"`
}

// Detector folds counts, in any order, into a report.
func Detector(id dialer.CampaignID, from, to time.Time, counts []compliance.DetectorCount, now time.Time) DetectorReport {
	r := DetectorReport{
		Campaign: id, From: from.UTC(), To: to.UTC(), GeneratedAt: now.UTC(),
		DetectorFigures: detectorFigures(counts), Trunks: []TrunkDetector{},
	}
	byTrunk := map[dialer.TrunkID][]compliance.DetectorCount{}
	for _, c := range counts {
		byTrunk[c.Trunk] = append(byTrunk[c.Trunk], c)
	}
	for _, trunk := range slices.Sorted(maps.Keys(byTrunk)) {
		r.Trunks = append(r.Trunks, TrunkDetector{Trunk: trunk, DetectorFigures: detectorFigures(byTrunk[trunk])})
	}
	return r
}

func detectorFigures(counts []compliance.DetectorCount) DetectorFigures {
	f := DetectorFigures{DetectorError: compliance.ErrorOf(counts), Verdicts: []VerdictCount{}}
	by := map[string]*VerdictCount{}
	for _, c := range counts {
		v := by[c.Verdict]
		if v == nil {
			v = &VerdictCount{Verdict: c.Verdict}
			by[c.Verdict] = v
		}
		v.Calls += c.Calls
		switch {
		case c.Truth == "":
			v.Unknown += c.Calls
		case c.Person():
			v.Persons += c.Calls
		default:
			v.Others += c.Calls
		}
	}
	for _, v := range by {
		f.Verdicts = append(f.Verdicts, *v)
	}
	slices.SortFunc(f.Verdicts, func(a, b VerdictCount) int {
		return cmp.Or(cmp.Compare(b.Calls, a.Calls), cmp.Compare(a.Verdict, b.Verdict))
	})
	return f
}
