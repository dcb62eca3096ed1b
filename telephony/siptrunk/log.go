package siptrunk

import (
	"context"
	"log/slog"
	"regexp"
	"runtime/debug"
)

// quietHandler passes sipgo's log lines on at debug level, with long values cut
// and numbers masked: sipgo logs whole datagrams of strangers as errors.
type quietHandler struct{ next slog.Handler }

const longestValue = 256

var digits = regexp.MustCompile(`\+?\d{3,}(\d{4})`)

func (h quietHandler) Enabled(ctx context.Context, _ slog.Level) bool {
	return h.next.Enabled(ctx, slog.LevelDebug)
}

func (h quietHandler) Handle(ctx context.Context, r slog.Record) error {
	quiet := slog.NewRecord(r.Time, slog.LevelDebug, "sipgo: "+r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		quiet.AddAttrs(slog.String(a.Key, cut(a.Value.String())))
		return true
	})
	return h.next.Handle(ctx, quiet)
}

func (h quietHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return quietHandler{h.next.WithAttrs(attrs)}
}

func (h quietHandler) WithGroup(name string) slog.Handler {
	return quietHandler{h.next.WithGroup(name)}
}

func cut(s string) string {
	if len(s) > longestValue {
		s = s[:longestValue] + "…"
	}
	return digits.ReplaceAllString(s, "****$1")
}

func stack() string {
	s := debug.Stack()
	return string(s[:min(len(s), 4096)])
}
