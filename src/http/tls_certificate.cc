// EnsureSelfSignedCertificate: the server's own certificate, for machines that have no other.
#include <arpa/inet.h>
#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <ctime>
#include <memory>

#include "base/file.h"
#include "http/tls.h"

namespace lem::http {
namespace {

constexpr long kSecondsADay = 86'400;
// The longest that browsers and Apple's systems take.
constexpr long kValidS = 397 * kSecondsADay;
constexpr long kRenewBeforeS = 30 * kSecondsADay;
// Clocks of other machines go a little differently.
constexpr long kBackdateS = kSecondsADay;
constexpr size_t kMaxPemBytes = 1 << 20;

template <auto kFree>
struct Free {
  template <typename T>
  void operator()(T* object) const {
    kFree(object);
  }
};
using Key = std::unique_ptr<EVP_PKEY, Free<EVP_PKEY_free>>;
using Certificate = std::unique_ptr<X509, Free<X509_free>>;
using Extension = std::unique_ptr<X509_EXTENSION, Free<X509_EXTENSION_free>>;
using Memory = std::unique_ptr<BIO, Free<BIO_free_all>>;

bool IsAddress(const std::string& name) {
  unsigned char bytes[sizeof(in6_addr)];
  return ::inet_pton(AF_INET, name.c_str(), bytes) == 1 || ::inet_pton(AF_INET6, name.c_str(), bytes) == 1;
}

// Nothing that means something in OpenSSL's notation of several names.
bool IsHostName(const std::string& name) {
  return !name.empty() && name.size() <= 253 && std::ranges::all_of(name, [](unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
  });
}

std::string AlternativeNames(std::span<const std::string> names) {
  std::string text;
  for (const std::string& name : names) {
    text += fmt::format("{}{}:{}", text.empty() ? "" : ",", IsAddress(name) ? "IP" : "DNS", name);
  }
  return text;
}

bool Add(X509* certificate, int id, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, certificate, certificate, nullptr, nullptr, 0);
  const Extension extension(X509V3_EXT_conf_nid(nullptr, &context, id, value.c_str()));
  return extension != nullptr && X509_add_ext(certificate, extension.get(), -1) == 1;
}

// A random positive number of 127 bits.
bool SetSerial(X509* certificate) {
  unsigned char bytes[16];
  if (RAND_bytes(bytes, sizeof(bytes)) != 1) return false;
  bytes[0] = static_cast<unsigned char>((bytes[0] & 0x7f) | 0x40);
  const std::unique_ptr<BIGNUM, Free<BN_free>> number(BN_bin2bn(bytes, sizeof(bytes), nullptr));
  return number != nullptr && BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate)) != nullptr;
}

// Signed by itself and no authority: who trusts it trusts this server and nothing else.
Certificate MakeCertificate(EVP_PKEY* key, std::span<const std::string> names) {
  Certificate made(X509_new());
  if (made == nullptr) return nullptr;
  X509* const certificate = made.get();
  X509_NAME* const subject = X509_get_subject_name(certificate);
  const auto* name = reinterpret_cast<const unsigned char*>("Lemonade");
  const bool ok =
      X509_set_version(certificate, X509_VERSION_3) == 1 && SetSerial(certificate) &&
      X509_gmtime_adj(X509_getm_notBefore(certificate), -kBackdateS) != nullptr &&
      X509_gmtime_adj(X509_getm_notAfter(certificate), kValidS - kBackdateS) != nullptr &&
      X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, name, -1, -1, 0) == 1 &&
      X509_set_issuer_name(certificate, subject) == 1 && X509_set_pubkey(certificate, key) == 1 &&
      Add(certificate, NID_basic_constraints, "critical,CA:FALSE") &&
      Add(certificate, NID_key_usage, "critical,digitalSignature") &&
      Add(certificate, NID_ext_key_usage, "serverAuth") && Add(certificate, NID_subject_key_identifier, "hash") &&
      Add(certificate, NID_authority_key_identifier, "keyid") &&
      Add(certificate, NID_subject_alt_name, AlternativeNames(names)) && X509_sign(certificate, key, EVP_sha256()) > 0;
  return ok ? std::move(made) : nullptr;
}

std::string PemOf(const Memory& memory) {
  char* bytes = nullptr;
  const long size = BIO_get_mem_data(memory.get(), &bytes);
  return {bytes, static_cast<size_t>(std::max(size, 0L))};
}

// True if the file's certificate is for all the names and good for some time.
bool IsStillGood(const TlsFiles& files, std::span<const std::string> names) {
  std::error_code error;
  if (!std::filesystem::exists(files.key, error)) return false;
  const Result<std::string> pem = ReadFile(files.certificate, kMaxPemBytes);
  if (!pem.ok()) return false;
  const Memory memory(BIO_new_mem_buf(pem->data(), static_cast<int>(pem->size())));
  if (memory == nullptr) return false;
  const Certificate certificate(PEM_read_bio_X509(memory.get(), nullptr, nullptr, nullptr));
  ERR_clear_error();
  if (certificate == nullptr) return false;
  time_t later = std::time(nullptr) + kRenewBeforeS;
  if (X509_cmp_time(X509_get0_notAfter(certificate.get()), &later) <= 0) return false;
  return std::ranges::all_of(names, [&](const std::string& name) {
    return IsAddress(name) ? X509_check_ip_asc(certificate.get(), name.c_str(), 0) == 1
                           : X509_check_host(certificate.get(), name.data(), name.size(), 0, nullptr) == 1;
  });
}

Status WriteOwn(const std::filesystem::path& path, std::string_view content) {
  return ReplaceFile(path, [content](OutputFile& file) -> Status {
    LEM_TRY(file.RestrictToOwner());
    LEM_TRY(file.Write(content));
    return file.Sync();
  });
}

}  // namespace

Status EnsureSelfSignedCertificate(const TlsFiles& files, std::span<const std::string> names) {
  for (const std::string& name : names) {
    if (!IsAddress(name) && !IsHostName(name)) {
      return InvalidArgument("no certificate can be made for '{}': it is neither a host name nor an address", name);
    }
  }
  if (IsStillGood(files, names)) return OkStatus();
  for (const auto& path : {files.certificate, files.key}) {
    std::error_code error;
    std::filesystem::create_directories(path.parent_path(), error);
    if (error) return PermissionDenied("folder {} cannot be made: {}", path.parent_path().string(), error.message());
  }
  // P-256: every client has it, and a signature takes a thirtieth of a millisecond.
  const Key key(EVP_EC_gen("P-256"));
  const Certificate certificate = key == nullptr ? nullptr : MakeCertificate(key.get(), names);
  const Memory key_pem(BIO_new(BIO_s_mem())), certificate_pem(BIO_new(BIO_s_mem()));
  if (certificate == nullptr || key_pem == nullptr || certificate_pem == nullptr ||
      PEM_write_bio_PKCS8PrivateKey(key_pem.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) != 1 ||
      PEM_write_bio_X509(certificate_pem.get(), certificate.get()) != 1) {
    ERR_clear_error();
    return Internal("no certificate could be made for {}", AlternativeNames(names));
  }
  LEM_TRY(WriteOwn(files.key, PemOf(key_pem)));
  return WriteOwn(files.certificate, PemOf(certificate_pem));
}

}  // namespace lem::http
