package transport

import (
	"strconv"
	"strings"
	"time"
)

// keepMargin is how long before the target would close an idle connection it is not used any more: a request must not be on its way
// then. Where the target keeps it shorter than twice that, it is half the time.
const keepMargin = time.Second

// keptUntil returns until when a connection may be used whose target said in an answer, of which the head has just come, how long it
// keeps it: Keep-Alive (RFC 2068 section 19.7.1) with the parameter that Apache, Node and others send. The zero time says that it did
// not say, one in the past that it does not keep it. The target counts from the end of the answer, which a slow client may get later.
func keptUntil(lines []string) time.Time {
	if len(lines) == 0 {
		return time.Time{}
	}
	switch keep := keepTime(lines); {
	case keep == 0:
		return time.Time{}
	case keep < 0:
		return time.Unix(1, 0)
	default:
		return time.Now().Add(keep)
	}
}

// keepTime returns for how long that is; 0 if it did not say, negative if not at all.
func keepTime(lines []string) time.Duration {
	var least time.Duration
	for _, line := range lines {
		for param := range strings.SplitSeq(line, ",") {
			name, value, _ := strings.Cut(param, "=")
			if !strings.EqualFold(trimSpace(name), "timeout") {
				continue
			}
			n, err := strconv.ParseUint(strings.Trim(trimSpace(value), `"`), 10, 31)
			if err != nil {
				continue
			}
			keep := time.Duration(n) * time.Second
			if keep -= min(keepMargin, keep/2); keep == 0 {
				return -1
			}
			if least == 0 || keep < least {
				least = keep
			}
		}
	}
	return least
}
