import Client
import Engine
import NIOCore
import WAL

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// Another node as a source of frames: its `/wal/stream`, read by a thread that waits for it.
///
/// It is not told who reads: a member that asks from an earlier number than it has acknowledged would
/// not count towards a quorum any more.
struct PeerFrames: FrameSource {
  private static let statusSeconds: UInt64 = 2
  private static let silenceSeconds: UInt64 = 10
  private static let refusalBytesMax = 64 << 10

  let address: NodeAddress
  let status: Peer.Status

  var name: String { "\(address)" }

  /// The nodes that answer, the most advanced first, and then those that do not, which say why.
  static func all(
    _ addresses: [NodeAddress], check: () throws(WALError) -> Void = {}
  ) throws(WALError) -> (reached: [PeerFrames], lost: [UnreachablePeer]) {
    var reached: [PeerFrames] = []
    var lost: [UnreachablePeer] = []
    for address in addresses {
      let (answer, problem) = try PeerAnswer(address, "/status")
        .whole(within: statusSeconds, bytesMax: 16 << 20, check)
      guard let answer else {
        lost.append(UnreachablePeer(name: "\(address)", reason: problem))
        continue
      }
      guard answer.status == 200, let status = Self.status(answer.body) else {
        let reason = "it answers \(answer.status) when it is asked how it is"
        lost.append(UnreachablePeer(name: "\(address)", reason: reason))
        continue
      }
      reached.append(PeerFrames(address: address, status: status))
    }
    reached.sort {
      ($0.status.epoch, $0.status.sequence.durable) > ($1.status.epoch, $1.status.sequence.durable)
    }
    return (reached, lost)
  }

  private static func status(_ body: ByteBuffer) -> Peer.Status? {
    do {
      return try JSONDecoder().decode(Peer.Status.self, from: Data(body.readableBytesView))
    } catch {
      // It is no node of this kind.
      return nil
    }
  }

  /// What it has for others.
  private var end: UInt64 { min(status.sequence.durable, status.sequence.applied) }

  func read(
    _ request: FrameRequest, check: () throws(WALError) -> Void,
    _ take: (RawSpan) throws(WALError) -> Bool
  ) throws(WALError) -> FrameDelivery {
    let answer = PeerAnswer(address, target(request))
    var stream = FrameStream()
    var refusal: (status: Int, body: ByteBuffer)?
    while true {
      switch try answer.part(within: Self.silenceSeconds, check) {
      case .head(let status):
        if status != 200 { refusal = (status, ByteBuffer()) }
      case .body(var bytes):
        if refusal == nil {
          bytes.withUnsafeReadableBytes { stream.feed($0) }
          if let ended = try drain(&stream, request, take) { return ended }
        } else if refusal!.body.readableBytes < Self.refusalBytesMax {
          refusal!.body.writeBuffer(&bytes)
        }
      case .end:
        guard let refusal else { return .refused("it has ended the stream") }
        return .refused(StreamRefusal(refusal.status, refusal.body).reason)
      case .failed(let reason): return .refused(reason)
      }
    }
  }

  private func target(_ request: FrameRequest) -> String {
    var target = "/wal/stream?from=\(request.from)&origin=\(hexadecimal(request.origin))"
    if let after = request.after, after.sequence > 0 {
      target += "&crc=\(hexadecimal(after.crc))&epoch=\(after.epoch.text)"
    }
    return target
  }

  /// - Returns: how it has ended; nil when it takes more bytes.
  private func drain(
    _ stream: inout FrameStream, _ request: FrameRequest,
    _ take: (RawSpan) throws(WALError) -> Bool
  ) throws(WALError) -> FrameDelivery? {
    while true {
      switch Self.next(&stream) {
      case .success(.segment(let header)):
        guard header.origin == request.origin else { return .refused("it sends another log") }
      case .success(.frame):
        guard try stream.withFrame({ (frame) throws(WALError) in try take(frame) }) else {
          return .enough
        }
      case .success(.heartbeat): continue
      case .success(nil): return nil
      case .failure(let failure):
        return .refused(
          "what came behind sequence number \(failure.sequence - 1) is no frame of this log")
      }
      if let position = stream.position, position.sequence >= end { return .end }
    }
  }

  private static func next(
    _ stream: inout FrameStream
  ) -> Result<FrameStream.Event?, FrameStream.Failure> {
    do {
      return .success(try stream.next())
    } catch {
      return .failure(error)
    }
  }
}

/// A node that was asked in vain.
struct UnreachablePeer: FrameSource {
  let name: String
  let reason: String

  func read(
    _ request: FrameRequest, check: () throws(WALError) -> Void,
    _ take: (RawSpan) throws(WALError) -> Bool
  ) throws(WALError) -> FrameDelivery { .refused(reason) }
}
