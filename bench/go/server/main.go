// Answers POST requests {"evidence": {"report", "vek"}} by verifying and validating the report with go-sev-guest.
//
// The members are base64url without padding. It reads ark.der and ask.der from the folder that is its argument, writes
// its port on loopback to standard output, and answers 200 with {"verified": true}, or 400 with the reason.
package main

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/google/go-sev-guest/abi"
	"github.com/google/go-sev-guest/kds"
	spb "github.com/google/go-sev-guest/proto/sevsnp"
	"github.com/google/go-sev-guest/validate"
	"github.com/google/go-sev-guest/verify"
	"github.com/google/go-sev-guest/verify/trust"
)

const (
	productLine = "Genoa"
	maxBytes    = 2 << 20
)

// What the fake chips' certificates are valid at.
var at = time.Date(2026, time.June, 1, 0, 0, 0, 0, time.UTC)

type asked struct {
	Evidence struct {
		Report string `json:"report"`
		Vek    string `json:"vek"`
	} `json:"evidence"`
}

type judge struct {
	ark, ask []byte
	roots    map[string][]*trust.AMDRootCerts
}

func (j judge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	var request asked
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBytes)).Decode(&request)
	if err == nil {
		err = j.accept(request)
	}
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]string{"reason": err.Error()})
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]bool{"verified": true})
}

func (j judge) accept(request asked) error {
	raw, err := base64.RawURLEncoding.DecodeString(request.Evidence.Report)
	if err != nil {
		return err
	}
	vek, err := base64.RawURLEncoding.DecodeString(request.Evidence.Vek)
	if err != nil {
		return err
	}
	report, err := abi.ReportToProto(raw)
	if err != nil {
		return err
	}
	chain := &spb.CertificateChain{ArkCert: j.ark, AskCert: j.ask, VcekCert: vek}
	attestation := &spb.Attestation{Report: report, CertificateChain: chain}
	options := &verify.Options{DisableCertFetching: true, Now: at, TrustedRoots: j.roots}
	if err := verify.SnpAttestation(attestation, options); err != nil {
		return err
	}
	vmpl := 0
	return validate.SnpAttestation(attestation, &validate.Options{
		GuestPolicy:      abi.SnpPolicy{SMT: true},
		Measurement:      report.Measurement,
		HostData:         make([]byte, abi.HostDataSize),
		MinimumTCB:       kds.TCBParts{BlSpl: 4, SnpSpl: 0x18, UcodeSpl: 0xDB},
		MinimumLaunchTCB: kds.TCBParts{BlSpl: 4, SnpSpl: 0x18, UcodeSpl: 0xDB},
		VMPL:             &vmpl,
	})
}

func main() {
	ark, ask := read("ark.der"), read("ask.der")
	certs := &trust.ProductCerts{Ark: certificate(ark), Ask: certificate(ask)}
	roots := &trust.AMDRootCerts{ProductLine: productLine, ProductCerts: certs}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	trusted := map[string][]*trust.AMDRootCerts{productLine: {roots}}
	log.Fatal(http.Serve(listener, judge{ark: ark, ask: ask, roots: trusted}))
}

func read(name string) []byte {
	raw, err := os.ReadFile(filepath.Join(os.Args[1], name))
	if err != nil {
		log.Fatal(err)
	}
	return raw
}

func certificate(der []byte) *x509.Certificate {
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		log.Fatal(err)
	}
	return parsed
}
