// Verifies and validates the reports of a folder with go-sev-guest, one pass for every line on standard input.
//
// For each pass it writes the CPU time that the process took, in nanoseconds. It reads ark.der, ask.der, vek.der and
// *.report from the folder that is its argument, and asks no network.
package main

import (
	"bufio"
	"crypto/x509"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/google/go-sev-guest/abi"
	"github.com/google/go-sev-guest/kds"
	spb "github.com/google/go-sev-guest/proto/sevsnp"
	"github.com/google/go-sev-guest/validate"
	"github.com/google/go-sev-guest/verify"
	"github.com/google/go-sev-guest/verify/trust"
)

const productLine = "Genoa"

// What the fake chips' certificates are valid at.
var at = time.Date(2026, time.June, 1, 0, 0, 0, 0, time.UTC)

func main() {
	folder := os.Args[1]
	chain := &spb.CertificateChain{
		ArkCert: read(folder, "ark.der"), AskCert: read(folder, "ask.der"), VcekCert: read(folder, "vek.der"),
	}
	names, err := filepath.Glob(filepath.Join(folder, "*.report"))
	if err != nil || len(names) == 0 {
		log.Fatalf("no reports in %s: %v", folder, err)
	}
	var reports [][]byte
	for _, name := range names {
		reports = append(reports, read(name))
	}
	roots := &trust.AMDRootCerts{
		ProductLine:  productLine,
		ProductCerts: &trust.ProductCerts{Ark: certificate(chain.ArkCert), Ask: certificate(chain.AskCert)},
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		begin := cpuTime()
		for _, raw := range reports {
			if err := accept(raw, chain, roots); err != nil {
				log.Fatal(err)
			}
		}
		fmt.Println(cpuTime() - begin)
	}
}

func accept(raw []byte, chain *spb.CertificateChain, roots *trust.AMDRootCerts) error {
	report, err := abi.ReportToProto(raw)
	if err != nil {
		return err
	}
	attestation := &spb.Attestation{Report: report, CertificateChain: chain}
	err = verify.SnpAttestation(attestation, &verify.Options{
		DisableCertFetching: true,
		Now:                 at,
		TrustedRoots:        map[string][]*trust.AMDRootCerts{productLine: {roots}},
	})
	if err != nil {
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

func read(parts ...string) []byte {
	raw, err := os.ReadFile(filepath.Join(parts...))
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

func cpuTime() int64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		log.Fatal(err)
	}
	return usage.Utime.Nano() + usage.Stime.Nano()
}
