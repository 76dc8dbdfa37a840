package policy

import "net/http"

// Previewer is a [Plugin] that can tell what it would decide about a request, for explanations. Preview gets a request
// that nobody serves, after the plugins around it were asked, with an [Exchange], a header and a URL of its own. What the
// plugin would do to these for those inside it, such as to set the Identity or to hide a credential, it does. It changes
// nothing else, counts nothing and answers nobody. The Detail of its decision may say
// more than that of the record of a real request, such as what remains of a limit.
type Previewer interface {
	Preview(r *http.Request) Decision
}

// PreviewOf returns what p would decide about r, or what the plugin it wraps would; under [ReportOnly] a refusal becomes
// [WouldRefuse]. It reports false when none of them can tell.
func PreviewOf(p Plugin, r *http.Request) (Decision, bool) {
	for q := range layers(p) {
		if v, ok := q.(Previewer); ok {
			d := v.Preview(r)
			if d.Verdict == Refused && IsReportOnly(p) {
				d.Verdict = WouldRefuse
			}
			return d, true
		}
	}
	return Decision{}, false
}
