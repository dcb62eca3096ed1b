package simulate

import (
	"encoding/json"

	"dialer/pacing"
)

// nextDay stores what was learned and reads it back, as a dialer does over night.
func nextDay(e *pacing.Estimator) (*pacing.Estimator, error) {
	stored, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	next, err := pacing.ReadEstimator(stored)
	if err != nil {
		return nil, err
	}
	return &next, nil
}
