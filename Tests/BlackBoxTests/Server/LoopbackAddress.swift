import Foundation
import Synchronization

/// An address that no other test listens on, and no other run of the tests at the same time.
struct LoopbackAddress: CustomStringConvertible, Sendable {
  private static let count = Atomic<UInt16>(0)

  let ip: String
  let port: UInt16

  /// 127/8 is all loopback: the process's id chooses the host, and the port counts. It is below those
  /// that the system gives to clients.
  static func fresh() -> LoopbackAddress {
    let id = UInt32(bitPattern: getpid())
    return LoopbackAddress(
      ip: "127.\(64 + id >> 16 & 63).\(id >> 8 & 255).\(id & 255)",
      port: 20_000 + count.add(1, ordering: .relaxed).oldValue % 10_000)
  }

  init(ip: String, port: UInt16) {
    self.ip = ip
    self.port = port
  }

  var description: String { "\(ip):\(port)" }

  /// For the system's calls.
  var socketAddress: sockaddr_in {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    inet_pton(AF_INET, ip, &address.sin_addr)
    return address
  }
}
