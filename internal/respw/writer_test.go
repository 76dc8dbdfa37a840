package respw_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/race"
	"github.com/gatehouse-go/gateway/internal/respw"
)

func TestStatusAndSize(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		handler func(w *respw.Writer)
		status  int
		size    int64
		sent    bool
	}{
		{"nothing", func(*respw.Writer) {}, 0, 0, false},
		{"head", func(w *respw.Writer) { w.WriteHeader(http.StatusNotFound) }, 404, 0, true},
		{"switching protocols", func(w *respw.Writer) { w.WriteHeader(http.StatusSwitchingProtocols) }, 101, 0, true},
		{"body", func(w *respw.Writer) { _, _ = io.WriteString(w, "hello") }, 200, 5, true},
		{"empty body", func(w *respw.Writer) { _, _ = w.Write(nil) }, 200, 0, true},
		{"string", func(w *respw.Writer) { _, _ = w.WriteString("hello") }, 200, 5, true},
		{"flush", func(w *respw.Writer) { w.Flush() }, 200, 0, true},
		{"head and body", func(w *respw.Writer) {
			w.WriteHeader(http.StatusCreated)
			_, _ = w.Write([]byte("ab"))
			_, _ = w.WriteString("c")
		}, 201, 3, true},
		{"superfluous head", func(w *respw.Writer) {
			w.WriteHeader(http.StatusCreated)
			w.WriteHeader(http.StatusInternalServerError)
		}, 201, 0, true},
		{"head after a body", func(w *respw.Writer) { _, _ = w.WriteString("a"); w.WriteHeader(http.StatusInternalServerError) }, 200, 1, true},
		{"informational", func(w *respw.Writer) { w.WriteHeader(http.StatusEarlyHints) }, 0, 0, false},
		{"informational, then final", func(w *respw.Writer) { w.WriteHeader(http.StatusEarlyHints); w.WriteHeader(http.StatusNoContent) }, 204, 0, true},
		{"informational, too late", func(w *respw.Writer) { w.WriteHeader(http.StatusNoContent); w.WriteHeader(http.StatusEarlyHints) }, 204, 0, true},
		{"status too low", func(w *respw.Writer) { w.WriteHeader(99) }, 500, 0, true},
		{"status zero", func(w *respw.Writer) { w.WriteHeader(0) }, 500, 0, true},
		{"status negative", func(w *respw.Writer) { w.WriteHeader(-1) }, 500, 0, true},
		{"status too high", func(w *respw.Writer) { w.WriteHeader(1000) }, 500, 0, true},
		{"highest status", func(w *respw.Writer) { w.WriteHeader(999) }, 999, 0, true},
		{"commit", func(w *respw.Writer) { w.Commit() }, 200, 0, true},
		{"commit after a head", func(w *respw.Writer) { w.WriteHeader(http.StatusNotFound); w.Commit() }, 404, 0, true},
		{"copy", func(w *respw.Writer) { _, _ = io.Copy(w, onlyReader("hello")) }, 200, 5, true},
		{"copy of nothing", func(w *respw.Writer) { _, _ = io.Copy(w, onlyReader("")) }, 0, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			under := &flushWriter{plainWriter{h: http.Header{}}}
			w := respw.Wrap(under)
			tt.handler(w)
			require.Equal(t, tt.status, w.Status())
			require.Equal(t, tt.size, w.Size())
			require.Equal(t, tt.sent, w.HeaderSent())
			require.False(t, w.Hijacked())
			require.False(t, w.Stalled())
			require.Equal(t, int(tt.size), under.body.Len())
			if tt.sent && under.status != 0 { // 0: left to the server
				require.Equal(t, tt.status, under.status)
			}
			w.Finish()
			w.Finish()
			require.True(t, w.HeaderSent(), "every answer has a head in the end")
			if !tt.sent {
				require.Equal(t, http.StatusOK, w.Status())
			}
		})
	}
}

func TestWrapSharesOneWriter(t *testing.T) {
	t.Parallel()
	rec := httptest.NewRecorder()
	w := respw.Wrap(rec)
	require.Same(t, w, respw.Wrap(w))
	require.Same(t, rec, w.Unwrap())
	require.NotSame(t, w, respw.Wrap(foreign{w}))
}

func TestInitStartsAfresh(t *testing.T) {
	t.Parallel()
	var holder struct{ w respw.Writer }
	holder.w.Init(httptest.NewRecorder())
	holder.w.OnHeader(func(int, http.Header) { t.Error("a function of an earlier response ran") })
	holder.w.Init(httptest.NewRecorder())
	_, err := holder.w.WriteString("x")
	require.NoError(t, err)
	holder.w.Init(httptest.NewRecorder())
	require.False(t, holder.w.HeaderSent())
	require.Zero(t, holder.w.Size())
}

func TestHooksRunLastFirstAndOnce(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 4, 5, 9} {
		for name, answer := range map[string]func(w *respw.Writer){
			"head":   func(w *respw.Writer) { w.WriteHeader(http.StatusOK) },
			"write":  func(w *respw.Writer) { _, _ = w.Write([]byte("x")) },
			"string": func(w *respw.Writer) { _, _ = w.WriteString("x") },
			"flush":  func(w *respw.Writer) { w.Flush() },
			"copy":   func(w *respw.Writer) { _, _ = w.ReadFrom(strings.NewReader("x")) },
			"commit": func(w *respw.Writer) { w.Commit() },
			"finish": func(w *respw.Writer) { w.Finish() },
		} {
			under := &flushWriter{plainWriter{h: http.Header{}}}
			w := respw.Wrap(under)
			var got, want []int
			w.OnHeader(nil)
			for i := range n {
				w.OnHeader(func(status int, h http.Header) {
					require.Equal(t, 200, status)
					require.False(t, w.HeaderSent())
					h.Add("X-Order", string(rune('0'+i)))
					got = append(got, i)
				})
				want = append([]int{i}, want...)
			}
			w.WriteHeader(http.StatusEarlyHints)
			require.Empty(t, got, name)
			answer(w)
			answer(w)
			w.OnHeader(func(int, http.Header) { t.Error("registered after the head was sent") })
			w.Commit()
			require.Equal(t, want, got, name)
			require.Len(t, under.h["X-Order"], n, name)
		}
	}
}

func TestHooksMayRegisterHooks(t *testing.T) {
	t.Parallel()
	rec := httptest.NewRecorder()
	w := respw.Wrap(rec)
	var order []string
	note := func(s string) func(int, http.Header) {
		return func(int, http.Header) { order = append(order, s) }
	}
	w.OnHeader(note("outer"))
	w.OnHeader(func(int, http.Header) {
		order = append(order, "inner")
		for range 5 { // beyond those kept inline
			w.OnHeader(note("registered"))
		}
	})
	w.WriteHeader(http.StatusAccepted)
	require.Equal(t, []string{"inner", "registered", "registered", "registered", "registered", "registered", "outer"}, order)
	require.Equal(t, http.StatusAccepted, rec.Code)
}

func TestHooksCannotAnswer(t *testing.T) {
	t.Parallel()
	rec := httptest.NewRecorder()
	w := respw.Wrap(rec)
	w.OnHeader(func(int, http.Header) {
		w.WriteHeader(http.StatusTeapot)
		_, err := w.Write([]byte("from a hook"))
		require.Error(t, err)
		_, err = w.WriteString("from a hook")
		require.Error(t, err)
		_, err = w.ReadFrom(onlyReader("from a hook"))
		require.Error(t, err)
		require.Error(t, w.FlushError())
	})
	w.WriteHeader(http.StatusForbidden)
	require.Equal(t, http.StatusForbidden, w.Status())
	require.Equal(t, http.StatusForbidden, rec.Code)
	require.Empty(t, rec.Body.String())
}

func TestHookPanicLeavesTheAnswerToWhoeverRecovers(t *testing.T) {
	t.Parallel()
	rec := httptest.NewRecorder()
	w := respw.Wrap(rec)
	var outer []int
	w.OnHeader(func(status int, _ http.Header) { outer = append(outer, status) })
	w.OnHeader(func(int, http.Header) { panic("hook") })
	require.PanicsWithValue(t, "hook", func() { w.WriteHeader(http.StatusOK) })
	require.False(t, w.HeaderSent())
	require.Zero(t, w.Status())
	w.WriteHeader(http.StatusInternalServerError)
	require.Equal(t, []int{500}, outer, "the remaining function sees the head that was sent")
	require.Equal(t, 500, rec.Code)
}

func TestImplicitHeadIsLeftToTheServer(t *testing.T) {
	t.Parallel()
	rec := httptest.NewRecorder()
	_, err := respw.Wrap(rec).Write([]byte("<html>"))
	require.NoError(t, err)
	require.Equal(t, "text/html; charset=utf-8", rec.Header().Get("Content-Type"), "the type is still guessed")
}

func TestFlushWithoutSupportSendsNothing(t *testing.T) {
	t.Parallel()
	under := &plainWriter{h: http.Header{}}
	w := respw.Wrap(foreign{under})
	w.OnHeader(func(int, http.Header) {})
	require.ErrorIs(t, w.FlushError(), http.ErrNotSupported)
	w.Flush()
	require.False(t, w.HeaderSent())
	w.WriteHeader(http.StatusNotFound)
	require.Equal(t, http.StatusNotFound, under.status)
	require.ErrorIs(t, w.FlushError(), http.ErrNotSupported)
	_, _, err := w.Hijack()
	require.ErrorIs(t, err, http.ErrNotSupported)
	require.False(t, w.Hijacked())
}

func TestReadFromWaitsForTheFirstByte(t *testing.T) {
	t.Parallel()
	failure := errors.New("upstream is gone")
	for name, src := range map[string]io.Reader{
		"fails":  iotest.ErrReader(failure),
		"endsat": io.MultiReader(onlyReader(""), iotest.ErrReader(failure)),
	} {
		for _, under := range []http.ResponseWriter{httptest.NewRecorder(), &directWriter{plainWriter: plainWriter{h: http.Header{}}}} {
			w := respw.Wrap(under)
			n, err := w.ReadFrom(src)
			require.ErrorIs(t, err, failure, name)
			require.Zero(t, n)
			require.False(t, w.HeaderSent(), "the handler can still answer 502")
		}
	}
}

func TestReadFromHandsOver(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("0123456789", 10_000)
	for _, head := range []bool{false, true} {
		under := &directWriter{plainWriter: plainWriter{h: http.Header{}}}
		w := respw.Wrap(under)
		if head {
			w.WriteHeader(http.StatusOK)
		}
		n, err := w.ReadFrom(onlyReader(text))
		require.NoError(t, err)
		require.Equal(t, int64(len(text)), n)
		require.Equal(t, int64(len(text)), w.Size())
		require.Equal(t, text, under.body.String())
		require.Equal(t, 1, under.direct)
	}
}

func TestReadFromReportsWriteErrors(t *testing.T) {
	t.Parallel()
	failure := errors.New("client is gone")
	w := respw.Wrap(&plainWriter{h: http.Header{}, room: 10, err: failure})
	n, err := w.ReadFrom(onlyReader("0123456789abcdef"))
	require.ErrorIs(t, err, failure)
	require.Equal(t, int64(10), n)
	require.Equal(t, int64(10), w.Size())

	w = respw.Wrap(httptest.NewRecorder())
	n, err = w.ReadFrom(io.MultiReader(onlyReader("abc"), iotest.ErrReader(failure)))
	require.ErrorIs(t, err, failure)
	require.Equal(t, int64(3), n)
}

func TestSmallAnswersAllocateNothing(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector allocates")
	}
	under := &plainWriter{h: http.Header{}, discard: true}
	var w respw.Writer
	hook := func(_ int, h http.Header) { h["X-A"] = nil }
	body := []byte("hello, world")
	for name, answer := range map[string]func(){
		"hooks": func() {
			for range 4 {
				w.OnHeader(hook)
			}
			w.WriteHeader(http.StatusOK)
			_, _ = w.Write(body)
		},
		"implicit head": func() { w.OnHeader(hook); _, _ = w.Write(body) },
		"limit":         func() { w.LimitWrites(30e9); w.OnHeader(hook); _, _ = w.Write(body); w.Finish() },
		"string":        func() { _, _ = w.WriteString("hello, world") },
	} {
		require.Zero(t, testing.AllocsPerRun(100, func() {
			w.Init(under)
			answer()
			w.Commit()
		}), name)
	}
}

// onlyReader is a reader without WriterTo, so that io.Copy uses ReadFrom.
func onlyReader(s string) io.Reader { return struct{ io.Reader }{strings.NewReader(s)} }

// foreign is a wrapper of somebody else.
type foreign struct{ http.ResponseWriter }

func (f foreign) Unwrap() http.ResponseWriter { return f.ResponseWriter }

// plainWriter is a ResponseWriter that supports nothing else.
type plainWriter struct {
	h       http.Header
	status  int
	body    strings.Builder
	discard bool
	room    int   // accepted before err, when err is set
	err     error // for writes beyond room
}

func (w *plainWriter) Header() http.Header    { return w.h }
func (w *plainWriter) WriteHeader(status int) { w.status = status }

func (w *plainWriter) Write(p []byte) (int, error) {
	if w.discard {
		return len(p), nil
	}
	if w.err != nil && w.body.Len()+len(p) > w.room {
		n, _ := w.body.Write(p[:w.room-w.body.Len()])
		return n, w.err
	}
	return w.body.Write(p)
}

func (w *plainWriter) WriteString(s string) (int, error) { return w.Write([]byte(s)) }

// flushWriter can flush, too. (httptest's recorder takes 1xx heads for final.)
type flushWriter struct{ plainWriter }

func (*flushWriter) Flush() {}

// directWriter copies by itself.
type directWriter struct {
	plainWriter
	direct int
}

func (w *directWriter) ReadFrom(src io.Reader) (int64, error) {
	w.direct++
	return io.Copy(&w.body, src)
}

// takenWriter is one whose connection can be taken over, if it wants to.
type takenWriter struct {
	plainWriter

	err error
}

func (w *takenWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) { return nil, nil, w.err }

func TestOnHijack(t *testing.T) {
	t.Parallel()
	under := &takenWriter{plainWriter: plainWriter{h: http.Header{}}, err: errors.New("not now")}
	w := respw.Wrap(under)
	var ran []int
	for i := range 3 {
		w.OnHijack(func() {
			require.True(t, w.Hijacked())
			ran = append(ran, i)
		})
	}
	w.OnHijack(nil)
	w.OnHeader(func(int, http.Header) { ran = append(ran, -1) })
	_, _, err := w.Hijack()
	require.ErrorIs(t, err, under.err)
	require.Empty(t, ran)
	under.err = nil
	_, _, err = w.Hijack()
	require.NoError(t, err)
	require.Equal(t, []int{2, 1, 0}, ran)
	w.OnHijack(func() { ran = append(ran, 3) })
	_, _, err = w.Hijack()
	require.NoError(t, err)
	w.WriteHeader(http.StatusOK)
	require.Equal(t, []int{2, 1, 0}, ran, "once")
}
