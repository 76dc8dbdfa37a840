package main

import (
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/gatehouse-go/gateway/bench/internal/standin"
)

// maxBody is more than any workload sends.
const maxBody = 64 << 20

// newFastServer holds bodies in memory on both sides, as fasthttp does unless told otherwise.
func newFastServer(upstream string, policies bool) *fasthttp.Server {
	client := &fasthttp.HostClient{
		Addr: upstream, MaxConns: idleConns, NoDefaultUserAgentHeader: true,
		DisablePathNormalizing: true,
	}
	h := func(ctx *fasthttp.RequestCtx) { fastForward(client, ctx) }
	if policies {
		h = fastChain(h)
	}
	return &fasthttp.Server{Handler: h, MaxRequestBodySize: maxBody, NoDefaultServerHeader: true, ReadTimeout: time.Minute}
}

func fastForward(client *fasthttp.HostClient, ctx *fasthttp.RequestCtx) {
	h := &ctx.Request.Header
	h.Del("Connection")
	h.Set("X-Forwarded-For", ctx.RemoteIP().String())
	h.SetBytesV("X-Forwarded-Host", h.Host())
	proto := "http"
	if ctx.IsTLS() {
		proto = "https"
		ctx.Request.URI().SetScheme("http") // the client refuses any other
	}
	h.Set("X-Forwarded-Proto", proto)
	if err := client.Do(&ctx.Request, &ctx.Response); err != nil {
		ctx.Error("Bad Gateway", fasthttp.StatusBadGateway)
		return
	}
	ctx.Response.Header.Del("Connection")
}

// fastChain is the chain of package standin for handlers of fasthttp.
func fastChain(next fasthttp.RequestHandler) fasthttp.RequestHandler {
	transform := func(ctx *fasthttp.RequestCtx) {
		ctx.Request.Header.Set(standin.Header, standin.Value)
		next(ctx)
		ctx.Response.Header.Set(standin.Header, standin.Value)
	}
	limiter := standin.NewLimiter()
	limit := func(ctx *fasthttp.RequestCtx) {
		c, ok := ctx.UserValue("consumer").(*standin.Consumer)
		if !ok {
			ctx.Error("no consumer", fasthttp.StatusInternalServerError)
			return
		}
		left, ok := limiter.Admit(c)
		if !ok {
			ctx.Error("too many requests", fasthttp.StatusTooManyRequests)
			return
		}
		ctx.Request.Header.Set(standin.ConsumerHeader, c.ID)
		ctx.Request.Header.Set(standin.CredentialHeader, c.ID)
		transform(ctx)
		ctx.Response.Header.Set(standin.LimitHeader, strconv.Itoa(standin.PerSecond))
		ctx.Response.Header.Set(standin.RemainingHeader, strconv.FormatInt(left, 10))
	}
	keys := standin.NewKeys()
	authenticate := func(ctx *fasthttp.RequestCtx) {
		c := keys.Find(ctx.Request.Header.Peek("apikey"))
		if c == nil {
			ctx.Error("no key that is known", fasthttp.StatusUnauthorized)
			return
		}
		ctx.Request.Header.Del("apikey")
		ctx.SetUserValue("consumer", c)
		limit(ctx)
	}
	var m standin.Metrics
	return func(ctx *fasthttp.RequestCtx) {
		start := time.Now()
		authenticate(ctx)
		m.Count(ctx.Response.StatusCode(), int64(len(ctx.Response.Body())), time.Since(start))
	}
}
