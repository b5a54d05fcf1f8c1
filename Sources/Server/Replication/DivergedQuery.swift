import Engine
import NIOCore
import WAL

/// What is asked of the tails.
struct DivergedQuery: Sendable {
  struct Refused: Error {
    let message: String
  }

  enum Found: Sendable {
    case list(ByteBuffer)
    case page(ByteBuffer, next: UInt64?)
    case unknown(String)
    case failed(WALError)
  }

  private enum Subject {
    case tails
    case tail(String)
    case log
  }

  private static let writesMax = 10_000

  private let subject: Subject
  private let from: UInt64
  private var limits = WritePage.Limits()

  init(_ query: Parameters) throws(Refused) {
    switch (query.text("tail"), query.text("log")) {
    case (nil, nil): subject = .tails
    case (let name?, nil): subject = .tail(name)
    case (nil, "current"): subject = .log
    default: throw Refused(message: "either tail=NAME or log=current")
    }
    if let text = query.first("from") {
      guard let number = text.withUnsafeBytes({ DecimalText.parse($0) }),
        (1..<Format.sequenceLimit).contains(number)
      else { throw Refused(message: "from must be a sequence number: 1 or more") }
      from = number
    } else {
      from = 1
    }
    if let text = query.first("limit") {
      guard let number = text.withUnsafeBytes({ DecimalText.parse($0) }),
        (1...UInt64(Self.writesMax)).contains(number)
      else { throw Refused(message: "limit must be from 1 to \(Self.writesMax)") }
      limits.writesMax = Int(number)
    }
    switch query.text("values") {
    case nil, "false": break
    case "true": limits.includesValues = true
    default: throw Refused(message: "values must be true or false")
    }
  }

  /// Reads the files: off the event loop.
  func answer(from store: Store) -> Found {
    let tails = SavedTails(
      store.options.dataDirectory, fileSystem: store.options.fileSystem)
    do throws(WALError) {
      switch subject {
      case .tails: return .list(try Self.list(tails, store))
      case .tail(let name):
        guard let page = try tails.page(of: name, from: from, limits: limits) else {
          return .unknown(name)
        }
        return .page(Self.lines(page), next: page.next)
      case .log:
        let page = try WritePage.read(
          store.options.dataDirectory + "/wal", from: from,
          through: min(store.index.appliedSequence, store.progress.durable), limits: limits,
          fileSystem: store.options.fileSystem)
        return .page(Self.lines(page), next: page.next)
      }
    } catch {
      return .failed(error)
    }
  }

  private static func list(
    _ tails: SavedTails, _ store: Store
  ) throws(WALError) -> ByteBuffer {
    let found = try tails.list()
    let list = found.tails.map { place in
      let tail = place.tail
      return """
        {"name":"\(tail.name)","origin":"\(hexadecimal(tail.origin))","fork":\(tail.fork.sequence),\
        "epoch":\(tail.fork.epoch.number),"epoch_node":"\(hexadecimal(tail.fork.epoch.node))",\
        "last":\(tail.lastSequence),"records":\(tail.writes)}
        """
    }
    var buffer = ByteBuffer()
    buffer.writeString("{\"tails\":[\(list.joined(separator: ","))],\"others\":[")
    for (index, name) in found.others.enumerated() {
      if index > 0 { buffer.writeStaticString(",") }
      var name = name
      name.withUTF8 { JSONText.writeString(UnsafeRawBufferPointer($0), into: &buffer) }
    }
    buffer.writeStaticString("]}")
    return buffer
  }

  private static func lines(_ page: WritePage) -> ByteBuffer {
    var buffer = ByteBuffer()
    for write in page.writes {
      buffer.writeString(
        """
        {"seq":\(write.sequence),"epoch":\(write.epoch.number),\
        "epoch_node":"\(hexadecimal(write.epoch.node))","time":\(write.timeMilliseconds),\
        "type":"\(write.kind.rawValue)"
        """)
      if !write.key.isEmpty {
        buffer.writeStaticString(",")
        write.key.withUnsafeBytes { JSONText.writeMember("key", $0, into: &buffer) }
      }
      buffer.writeString(",\"value_size\":\(write.valueBytes)")
      if let value = write.value {
        buffer.writeStaticString(",")
        value.withUnsafeBytes { JSONText.writeMember("value", $0, into: &buffer) }
      }
      if let expiry = write.expiryMilliseconds { buffer.writeString(",\"expiry\":\(expiry)") }
      buffer.writeStaticString("}\n")
    }
    return buffer
  }
}
