import ArgumentParser
import Client
import NIOCore
import NIOHTTP1

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// The snapshots of a node, from outside.
struct NodeSnapshots {
  /// Making one takes as long as it takes; a node that has gone is noticed earlier.
  private static let makingSeconds = 86_400.0

  private let options: ClientOptions
  private let target: String

  /// - Parameter replica: for whom they are held; made of letters, digits and dashes.
  init(_ options: ClientOptions, replica: String?) {
    self.options = options
    target = "/snapshot" + (replica.map { "?replica=\($0)" } ?? "")
  }

  /// What a node says about one that it has made.
  struct Made: Decodable {
    let sequence: UInt64
    let keys: UInt64
    let bytes: UInt64

    var json: String {
      JSONText.object([
        ("sequence", "\(sequence)"), ("keys", "\(keys)"), ("bytes", "\(bytes)"),
      ])
    }
  }

  /// A file that can be had.
  struct Offer {
    var tag: SnapshotTag
    var bytes: UInt64
  }

  /// Has one made of all that was acknowledged so far.
  func make() async throws -> Made {
    // Somebody who does not answer at all is noticed here.
    _ = try await options.ask { client throws(KVClientError) in try await client.status() }
    let answer = try await ask(
      KVRequest(.POST, "/admin/snapshot"), timeoutSeconds: Self.makingSeconds)
    guard answer.status == 200 else { throw refused(answer) }
    do {
      return try JSONDecoder().decode(Made.self, from: Data(answer.body.readableBytesView))
    } catch {
      throw Output.failure(
        "\(options.address): the answer is not known: is this a node of Shiplog?")
    }
  }

  /// What the newest one is; it is held from then on.
  func offer() async throws -> Offer {
    let answer = try await ask(KVRequest(.HEAD, target))
    guard answer.status == 200, let tag = answer.etag.flatMap({ SnapshotTag($0) }),
      let bytes = answer.headers.first(name: "Content-Length").flatMap({ UInt64($0) })
    else { throw refused(answer) }
    return Offer(tag: tag, bytes: bytes)
  }

  /// A piece of that one.
  ///
  /// - Returns: nil when the node does not have it any more.
  func piece(_ bytes: Range<UInt64>, of tag: SnapshotTag) async throws -> ByteBuffer? {
    let headers: HTTPHeaders = [
      "Range": "bytes=\(bytes.lowerBound)-\(bytes.upperBound - 1)", "If-Match": tag.text,
    ]
    let answer = try await ask(KVRequest(.GET, target, headers: headers))
    switch answer.status {
    case 206 where answer.body.readableBytes == bytes.count && answer.etag == tag.text:
      return answer.body
    case 404, 412, 416: return nil
    default: throw refused(answer)
    }
  }

  private func ask(
    _ request: KVRequest, timeoutSeconds: Double? = nil
  ) async throws -> KVResponse {
    try await options.ask(timeoutSeconds: timeoutSeconds) { client throws(KVClientError) in
      try await client.send(request)
    }
  }

  private func refused(_ answer: KVResponse) -> ExitCode {
    let text = String(decoding: answer.body.readableBytesView.prefix(1_024), as: UTF8.self)
    let said = QuotedText.printable(text)
    return Output.failure("\(options.address): \(answer.status): \(said)")
  }
}

/// The entity tag of a snapshot, as far as it can be a part of a file's name.
struct SnapshotTag: Hashable {
  let name: String

  var text: String { "\"\(name)\"" }

  init?(_ text: String) {
    guard text.hasPrefix("\""), text.hasSuffix("\""), text.utf8.count > 2 else { return nil }
    self.init(name: String(text.dropFirst().dropLast()))
  }

  init?(name: String) {
    let isPlain = name.utf8.allSatisfy {
      (0x30...0x39).contains($0) || (0x61...0x66).contains($0) || $0 == UInt8(ascii: "-")
    }
    guard isPlain, (1...100).contains(name.utf8.count), Self.numbers(name) != nil else {
      return nil
    }
    self.name = name
  }

  /// The sequence number and the size, with which it begins.
  private static func numbers(_ name: String) -> (sequence: UInt64, bytes: UInt64)? {
    let parts = name.split(separator: "-", omittingEmptySubsequences: false)
    guard parts.count == 4, let sequence = UInt64(parts[0]), let bytes = UInt64(parts[1]) else {
      return nil
    }
    return (sequence, bytes)
  }

  var sequence: UInt64 { Self.numbers(name)!.sequence }
  var bytes: UInt64 { Self.numbers(name)!.bytes }
}
