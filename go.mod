module github.com/gatehouse-go/gateway

go 1.25.0

require (
	github.com/julienschmidt/httprouter v1.3.0 // indirect
	github.com/stretchr/testify v1.12.1 // indirect
	go.uber.org/goleak v1.3.0 // indirect
	golang.org/x/time v0.15.0 // indirect
	pgregory.net/rapid v1.3.0 // indirect
)
