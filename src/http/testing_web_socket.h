// For tests only: a WebSocket client that sends exactly the frames it is told to.
#pragma once

#include <string>
#include <string_view>

#include "http/testing_socket.h"

namespace lem::http {

enum class Opcode : uint8_t { kContinuation = 0, kText = 1, kBinary = 2, kClose = 8, kPing = 9, kPong = 10 };
enum class Masking { kOn, kOff };

struct Frame {
  Opcode opcode = Opcode::kContinuation;
  bool fin = false;
  bool ended = false;  // no frame: the connection is over
  std::string payload;
  // Of a close frame; 0 without one.
  int close_code() const {
    return opcode != Opcode::kClose || payload.size() < 2
               ? 0
               : static_cast<uint8_t>(payload[0]) << 8 | static_cast<uint8_t>(payload[1]);
  }
};

inline std::string EncodeFrame(Opcode opcode, std::string_view payload, bool fin = true,
                               Masking masking = Masking::kOn) {
  const auto byte = [](size_t value) { return static_cast<char>(static_cast<uint8_t>(value)); };
  std::string out;
  out += byte((fin ? 0x80u : 0u) | static_cast<uint8_t>(opcode));
  const size_t mask_bit = masking == Masking::kOn ? 0x80 : 0;
  if (payload.size() < 126) {
    out += byte(mask_bit | payload.size());
  } else if (payload.size() < 65536) {
    out += byte(mask_bit | 126);
    out += byte(payload.size() >> 8);
    out += byte(payload.size() & 0xff);
  } else {
    out += byte(mask_bit | 127);
    for (int shift = 56; shift >= 0; shift -= 8) out += byte(payload.size() >> shift & 0xff);
  }
  if (masking == Masking::kOff) return out + std::string(payload);
  const std::string_view mask = "\x11\x22\x33\x44";
  out += mask;
  for (size_t i = 0; i < payload.size(); ++i) out += static_cast<char>(payload[i] ^ mask[i % 4]);
  return out;
}

inline constexpr std::string_view kUpgradeFields =
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

class WebSocketClient {
 public:
  WebSocketClient(uint16_t port, std::string_view path, std::string_view more_fields = "") : client_(port) {
    client_.Send(Get(path, std::string(kUpgradeFields) + std::string(more_fields)));
    head_ = client_.ReadThrough("\r\n\r\n");
  }

  const std::string& head() const { return head_; }
  bool Send(Opcode opcode, std::string_view payload, bool fin = true, Masking masking = Masking::kOn) const {
    return client_.Send(EncodeFrame(opcode, payload, fin, masking));
  }
  bool SendText(std::string_view text) const { return Send(Opcode::kText, text); }
  bool SendBytes(std::string_view bytes) const { return client_.Send(bytes); }
  RawClient& raw() { return client_; }

  Frame Read() {
    Frame frame;
    const std::string head = client_.ReadBytes(2);
    if (head.size() < 2) {
      frame.ended = true;
      return frame;
    }
    frame.opcode = static_cast<Opcode>(head[0] & 0x0f);
    frame.fin = (head[0] & 0x80) != 0;
    size_t size = static_cast<uint8_t>(head[1]);
    EXPECT_LT(size, 128u) << "a server does not mask";
    if (size >= 126) {
      const std::string length = client_.ReadBytes(size == 126 ? 2 : 8);
      size = 0;
      for (const char byte : length) size = size << 8 | static_cast<uint8_t>(byte);
    }
    frame.payload = client_.ReadBytes(size);
    frame.ended = frame.payload.size() < size;
    return frame;
  }
  // The next text; "" at the end.
  std::string ReadText() {
    const Frame frame = Read();
    return frame.opcode == Opcode::kText && !frame.ended ? frame.payload : "";
  }

 private:
  RawClient client_;
  std::string head_;
};

}  // namespace lem::http
