import Client

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A node's address as the system takes it. Looked up once, so that no look-up is measured.
struct SocketAddress: Sendable {
  private let bytes: [UInt8]
  private let family: Int32

  init(_ address: NodeAddress) throws(BenchError) {
    var hints = addrinfo()
    #if canImport(Glibc)
      hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    #else
      hints.ai_socktype = SOCK_STREAM
    #endif
    var found: UnsafeMutablePointer<addrinfo>?
    let code = getaddrinfo(address.host, "\(address.port)", &hints, &found)
    guard code == 0, let first = found else {
      throw .target("\(address): \(String(cString: gai_strerror(code)))")
    }
    defer { freeaddrinfo(first) }
    family = first.pointee.ai_family
    bytes = Array(
      UnsafeRawBufferPointer(start: first.pointee.ai_addr, count: Int(first.pointee.ai_addrlen)))
  }

  /// Begins to connect.
  ///
  /// - Returns: the socket, which does not block and does not wait to fill packets; nil when the
  ///   system refuses.
  func connect() -> Int32? {
    #if canImport(Glibc)
      let kind = Int32(SOCK_STREAM.rawValue)
    #else
      let kind = SOCK_STREAM
    #endif
    let flags = Int32(0o4000 | 0o2_000_000)  // SOCK_NONBLOCK | SOCK_CLOEXEC
    let descriptor = socket(family, kind | flags, 0)
    guard descriptor >= 0 else { return nil }
    var on: Int32 = 1
    setsockopt(
      descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &on, socklen_t(MemoryLayout<Int32>.size))
    let code = bytes.withUnsafeBytes { bytes in
      systemConnect(
        descriptor, bytes.baseAddress!.assumingMemoryBound(to: sockaddr.self),
        socklen_t(bytes.count))
    }
    guard code == 0 || errno == EINPROGRESS else {
      close(descriptor)
      return nil
    }
    return descriptor
  }

  /// Whether a socket that has become writable is connected, and not to itself: where nobody listens
  /// on a port that the system also gives out, TCP can do that (RFC 9293, section 3.5).
  static func isConnected(_ descriptor: Int32) -> Bool {
    var error: Int32 = 0
    var size = socklen_t(MemoryLayout<Int32>.size)
    guard getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &error, &size) == 0, error == 0 else {
      return false
    }
    var (own, peer) = (sockaddr_storage(), sockaddr_storage())
    func bytes(
      _ storage: inout sockaddr_storage,
      _ ask: (Int32, UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<socklen_t>) -> Int32
    ) -> [UInt8]? {
      var size = socklen_t(MemoryLayout<sockaddr_storage>.size)
      return withUnsafeMutableBytes(of: &storage) { raw in
        let address = raw.baseAddress!.assumingMemoryBound(to: sockaddr.self)
        return ask(descriptor, address, &size) == 0 ? Array(raw.prefix(Int(size))) : nil
      }
    }
    let ownBytes = bytes(&own) { getsockname($0, $1, $2) }
    let peerBytes = bytes(&peer) { getpeername($0, $1, $2) }
    return peerBytes != nil && ownBytes != peerBytes
  }
}

/// The system's, beside the method of that name.
private func systemConnect(
  _ descriptor: Int32, _ address: UnsafePointer<sockaddr>, _ size: socklen_t
) -> Int32 {
  connect(descriptor, address, size)
}
