package gateway

import (
	"slices"

	"github.com/gatehouse-go/gateway/policy"
)

// breach is a contract that a chain does not keep.
type breach struct {
	plugin, other int // positions in the chain; other is that of the one who provides, or may provide; or -1
	fact          policy.Fact
	precluded     bool // else: required
	unproven      bool // an opaque plugin may provide it
	reported      bool // only a plugin under ReportOnly provides it
}

// checkChain compares what the plugins of a chain, the first outermost, require with what those around them provide, and
// what they preclude with what those inside them provide. An opaque plugin may provide anything and asks for nothing.
func checkChain(chain []Plugin) []breach {
	var out []breach
	provided := map[policy.Fact]bool{policy.ClientAddress: true} // by the entry
	reported := map[policy.Fact]int{}                            // by plugins under ReportOnly, which pass on those without it
	precluded := map[policy.Fact]int{}
	opaque := -1
	for i, p := range chain {
		c, known := policy.ContractOf(p)
		if !known {
			if opaque < 0 {
				opaque = i
			}
			continue
		}
		reports := policy.IsReportOnly(p)
		for _, f := range distinct(c.Requires) {
			by, isReported := reported[f]
			switch {
			case provided[f] || isReported && reports:
			case isReported:
				out = append(out, breach{plugin: i, other: by, fact: f, reported: true})
			default:
				out = append(out, breach{plugin: i, other: opaque, fact: f, unproven: opaque >= 0})
			}
		}
		for _, f := range distinct(c.Provides) {
			if by, ok := precluded[f]; ok {
				out = append(out, breach{plugin: by, other: i, fact: f, precluded: true})
			}
			if reports {
				reported[f] = i
			} else {
				provided[f] = true
			}
		}
		for _, f := range c.Precludes {
			if _, ok := precluded[f]; !ok {
				precluded[f] = i
			}
		}
	}
	return out
}

// distinct returns the facts without repetitions.
func distinct(facts []policy.Fact) []policy.Fact {
	if len(facts) < 2 {
		return facts
	}
	var out []policy.Fact
	for _, f := range facts {
		if !slices.Contains(out, f) {
			out = append(out, f)
		}
	}
	return out
}

// checkContracts reports the breaches of a chain that has outer gateway-wide plugins in front, those apart that lie among
// them: they are reported once, for the Config, where order is -1.
func (r *collector) checkContracts(label string, order int, chain []Plugin, outer int, compat Compat) {
	where := label
	if order < 0 {
		where = "Config.Plugins"
	}
	for _, b := range checkChain(chain) {
		if order >= 0 && b.plugin < outer && b.other < outer {
			continue
		}
		f := Finding{Kind: BrokenContract, Route: routeName(label), order: order, Plugins: []string{policy.NameOf(chain[b.plugin])}}
		f.Warning = compat.AllowBrokenContracts
		name := f.Plugins[0]
		if b.other >= 0 {
			f.Plugins = append(f.Plugins, policy.NameOf(chain[b.other]))
		}
		switch {
		case b.precluded:
			r.addf(f, "%s: plugin %q stands around %q, which provides %q, and would pass it by; put it inside", where, name, f.Plugins[1], b.fact)
		case b.unproven:
			f.Kind, f.Warning = UnprovenContract, true
			r.addf(f, "%s: plugin %q requires %q, which only the opaque plugin %q around it can provide; give that a contract with policy.Describe",
				where, name, b.fact, f.Plugins[1])
		case b.reported:
			f.Kind, f.Warning = UnprovenContract, true
			r.addf(f, "%s: plugin %q requires %q, which %q provides, but that is under ReportOnly and passes on requests without it; put both under ReportOnly, or none",
				where, name, b.fact, f.Plugins[1])
		case b.fact == policy.Authenticated:
			r.addf(f, "%s: plugin %q requires %q, and no plugin around it provides that; put one that authenticates, such as key-auth, before it",
				where, name, b.fact)
		default:
			r.addf(f, "%s: plugin %q requires %q, and no plugin around it provides that; put one that does before it", where, name, b.fact)
		}
	}
}
