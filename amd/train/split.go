package train

import (
	"cmp"
	"maps"
	"slices"
)

// Split puts the groups of clips, largest first, where there are fewest so far.
// A clip without a group is one of its own.
func Split(clips []*Clip, n int) [][]*Clip {
	groups := map[string][]*Clip{}
	for _, c := range clips {
		name := cmp.Or(c.Group, "file "+c.File)
		groups[name] = append(groups[name], c)
	}
	names := slices.SortedFunc(maps.Keys(groups), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(groups[b]), len(groups[a])), cmp.Compare(a, b))
	})
	parts := make([][]*Clip, min(n, len(names)))
	for _, name := range names {
		least := 0
		for i := range parts {
			if len(parts[i]) < len(parts[least]) {
				least = i
			}
		}
		parts[least] = append(parts[least], groups[name]...)
	}
	return parts
}

// sortTakes brings takes into an order that depends on nothing else.
func sortTakes(takes []take) {
	slices.SortStableFunc(takes, func(a, b take) int {
		name := func(t take) string {
			if t.clip == nil {
				return ""
			}
			return t.clip.File
		}
		return cmp.Or(cmp.Compare(name(a), name(b)), cmp.Compare(a.class, b.class))
	})
}
