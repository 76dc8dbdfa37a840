module github.com/gatehouse-go/gateway/contrib/dns

go 1.25.0

require (
	github.com/gatehouse-go/gateway v0.0.0
	github.com/miekg/dns v1.1.73
	github.com/stretchr/testify v1.12.1
	go.uber.org/goleak v1.3.0
)

require (
	go.yaml.in/yaml/v3 v3.0.6 // indirect
	golang.org/x/net v0.57.0 // indirect
	golang.org/x/sys v0.47.0 // indirect
)
