package amd

import (
	_ "embed"
	"errors"
	"fmt"

	"dialer/amd/ear"
	"dialer/amd/forest"
)

// A Model is what was learned of recordings: what speech is, and who answers so.
// It is read only, and serves any number of detectors.
type Model struct {
	voice *forest.Forest // is a frame speech, by ear.Sound.Features
	beep  *forest.Forest // is a tone a beep, by ear.DescribeTone
	call  *forest.Forest // which of Classes, by ear.Cadence.Describe
}

// Classes are the verdicts of a model, in the order of its scores.
var Classes = [...]Verdict{Human, Machine, Screening, Ringback, Music, Silence}

// NewModel joins the forests of a model.
func NewModel(voice, beep, call *forest.Forest) (*Model, error) {
	switch {
	case voice.Classes() != 1 || voice.Features() != ear.VoiceFeatures:
		return nil, fmt.Errorf("the voice forest has %d classes and %d features", voice.Classes(), voice.Features())
	case beep.Classes() != 1 || beep.Features() != ear.BeepFeatures:
		return nil, fmt.Errorf("the beep forest has %d classes and %d features", beep.Classes(), beep.Features())
	case call.Classes() != len(Classes) || call.Features() != ear.Features:
		return nil, fmt.Errorf("the call forest has %d classes and %d features", call.Classes(), call.Features())
	}
	return &Model{voice: voice, beep: beep, call: call}, nil
}

// ReadModel reads what Append has written.
func ReadModel(b []byte) (*Model, error) {
	var forests [3]*forest.Forest
	rest := b
	for i := range forests {
		var err error
		if forests[i], rest, err = forest.Read(rest); err != nil {
			return nil, err
		}
	}
	if len(rest) > 0 {
		return nil, errors.New("something stands behind the model")
	}
	return NewModel(forests[0], forests[1], forests[2])
}

// Append stores the model behind b.
func (m *Model) Append(b []byte) []byte { return m.call.Append(m.beep.Append(m.voice.Append(b))) }

// Trees is how many trees the model has, for people.
func (m *Model) Trees() (voice, beep, call int) {
	return m.voice.Trees(), m.beep.Trees(), m.call.Trees()
}

// modelFile is written by dialer amd train; docs/amd-model.md is its card.
//
//go:embed model.bin
var modelFile []byte

// standard is the model of modelFile. A test reads it too, with its error.
var standard, _ = ReadModel(modelFile)
