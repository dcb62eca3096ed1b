package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"dialer"
	"dialer/campaign"
)

const (
	sqlCreateList = `INSERT INTO lists (id, campaign_id, name, created_at) VALUES ($1, $2, $3, $4)`
	sqlGetList    = `SELECT id, campaign_id, name, created_at FROM lists WHERE id = $1`
	sqlListLists  = `SELECT id, campaign_id, name, created_at FROM lists
		WHERE ($1 = '' OR campaign_id = $1) AND id > $2 ORDER BY id LIMIT $3`
)

func scanList(row pgx.CollectableRow) (l campaign.List, err error) {
	err = row.Scan(&l.ID, &l.Campaign, &l.Name, &l.CreatedAt)
	l.CreatedAt = l.CreatedAt.UTC()
	return l, err
}

// CreateList keeps a list, as yet empty.
func (db *DB) CreateList(ctx context.Context, l campaign.List) error {
	_, err := db.pool.Exec(ctx, sqlCreateList, l.ID, l.Campaign, plain(l.Name), l.CreatedAt)
	return refuseMissing(err, "creating a list", "there is no campaign %s", l.Campaign)
}

// GetList returns one list.
func (db *DB) GetList(ctx context.Context, id dialer.ListID) (campaign.List, error) {
	rows, err := db.pool.Query(ctx, sqlGetList, id)
	if err != nil {
		return campaign.List{}, fmt.Errorf("reading a list: %w", err)
	}
	l, err := pgx.CollectExactlyOneRow(rows, scanList)
	return l, refuseMissing(err, "reading a list", "there is no list %s", id)
}

// ListLists returns lists after one, of a campaign or, when it is empty, of all.
func (db *DB) ListLists(ctx context.Context, id dialer.CampaignID, after dialer.ListID, limit int) ([]campaign.List, error) {
	return listOf(ctx, db, "listing lists", scanList, sqlListLists, id, after, limit)
}
