package main

import (
	"encoding/csv"
	"fmt"
	"io"
	"math/rand/v2"

	"dialer/compliance"
)

// areaCodes of the demo's people, over all zones of the continental US.
var areaCodes = []string{
	"212", "305", "404", "617", "703", "215", // Eastern
	"312", "214", "612", "314", "713", // Central
	"303", "505", "801", "602", // Mountain
	"415", "206", "503", "702", "619", // Pacific
}

var (
	firstNames = []string{"Ada", "Ben", "Carla", "David", "Elena", "Frank", "Grace", "Hugo", "Ines", "James", "Karin", "Louis", "Maria", "Noah", "Olga", "Paul", "Rosa", "Sam", "Tessa", "Viktor"}
	lastNames  = []string{"Anderson", "Brown", "Clark", "Diaz", "Evans", "Fischer", "Garcia", "Hughes", "Ivanova", "Johnson", "Kim", "Lopez", "Miller", "Nguyen", "Olsen", "Patel", "Quinn", "Rossi", "Smith", "Turner"}
	plans      = []string{"Basic", "Plus", "Family", "Business"}
)

// writeDemoLeads writes n leads as a manager's CSV file would have them: numbers
// as people write them, every one valid and different.
func writeDemoLeads(w io.Writer, n int, seed uint64) error {
	rnd := rand.New(rand.NewPCG(seed, 1))
	out := csv.NewWriter(w)
	out.Write([]string{"Phone", "First name", "Last name", "Plan", "Customer no"})
	seen := map[string]bool{}
	for len(seen) < n {
		area := areaCodes[rnd.IntN(len(areaCodes))]
		phone := fmt.Sprintf("(%s) %03d-%04d", area, 200+rnd.IntN(800), rnd.IntN(10000))
		if _, err := compliance.ParseNumber(phone, "US"); err != nil || seen[phone] {
			continue
		}
		seen[phone] = true
		out.Write([]string{
			phone, firstNames[rnd.IntN(len(firstNames))], lastNames[rnd.IntN(len(lastNames))],
			plans[rnd.IntN(len(plans))], fmt.Sprintf("C-%05d", len(seen)),
		})
	}
	out.Flush()
	return out.Error()
}
