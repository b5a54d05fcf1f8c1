import Engine
import NIOCore
import WAL

/// The entity tag of a version: `"VERSION.EPOCH-NODE"`, opaque to clients.
///
/// The epoch is in it because a version alone may be used again after a promotion.
package struct EntityTag: Hashable, CustomStringConvertible {
  package let version: UInt64
  package let epoch: Epoch

  package var description: String {
    "\"\(version).\(epoch.number)-\(String(hexadecimal(epoch.node)))\""
  }

  package init(version: UInt64, epoch: Epoch) {
    self.version = version
    self.epoch = epoch
  }

  /// The tag as `description` writes it, with or without quotes; nil when it is none of ours.
  package init?(_ text: Substring) {
    var text = text
    if text.hasPrefix("\""), text.hasSuffix("\""), text.count >= 2 {
      text = text.dropFirst().dropLast()
    }
    let parts = text.split(separator: ".", omittingEmptySubsequences: false)
    guard parts.count == 2 else { return nil }
    let epoch = parts[1].split(separator: "-", omittingEmptySubsequences: false)
    guard epoch.count == 2, epoch[1].utf8.count == 16,
      let version = UInt64(parts[0]), let number = UInt64(epoch[0]),
      let node = UInt64(epoch[1], radix: 16)
    else { return nil }
    self.init(version: version, epoch: Epoch(number: number, node: node))
    // One version has one tag: no signs, no leading zeros, no capitals.
    guard description.dropFirst().dropLast() == text else { return nil }
  }

  /// Bytes that a tag has at most.
  static let bytesMax = 2 * DecimalText.digitsMax + 20

  package func write(into buffer: inout ByteBuffer) {
    buffer.write(atMost: Self.bytesMax) { write(into: &$0) }
  }

  func write(into output: inout ByteOutput) {
    output.append(UInt8(ascii: "\""))
    DecimalText.write(version, into: &output)
    output.append(UInt8(ascii: "."))
    DecimalText.write(epoch.number, into: &output)
    output.append(UInt8(ascii: "-"))
    var shift: UInt64 = 64
    while shift > 0 {
      shift -= 4
      output.append(HexDigit.lower(UInt8(epoch.node >> shift & 15)))
    }
    output.append(UInt8(ascii: "\""))
  }
}

/// What `If-Match` or `If-None-Match` lists (RFC 9110, 13.1).
package enum TagList: Hashable {
  /// The field is not there.
  case none
  case any
  /// The tags, those that can be ours; the others match nothing.
  case tags([EntityTag])

  /// - Parameters:
  ///   - fields: the values of all fields of that name.
  ///   - isStrong: whether weak tags (`W/"…"`) match nothing.
  /// - Returns: nil when that is no list of entity tags.
  package init?(_ fields: [String], isStrong: Bool) {
    guard !fields.isEmpty else {
      self = .none
      return
    }
    var tags: [EntityTag] = []
    var isAny = false
    var found = 0
    for field in fields {
      var rest = field[...].trimmingBlanks
      while !rest.isEmpty {
        if rest.first == "," {
          rest = rest.dropFirst().trimmingBlanks
          continue
        }
        found += 1
        if rest.first == "*" {
          isAny = true
          rest = rest.dropFirst().trimmingBlanks
        } else {
          let isWeak = rest.hasPrefix("W/")
          if isWeak { rest = rest.dropFirst(2) }
          guard rest.first == "\"", let end = rest.dropFirst().firstIndex(of: "\"") else {
            return nil
          }
          if let tag = EntityTag(rest[...end]), !(isWeak && isStrong) { tags.append(tag) }
          rest = rest[rest.index(after: end)...].trimmingBlanks
        }
        guard rest.isEmpty || rest.first == "," else { return nil }
      }
    }
    guard found > 0, !isAny || found == 1 else { return nil }
    self = isAny ? .any : .tags(tags)
  }

  /// The versions that the tags stand for in this history: a tag of another history stands for none.
  func versions(in epochs: EpochHistory) -> [UInt64] {
    guard case .tags(let tags) = self else { return [] }
    return tags.filter { epochs.epoch(of: $0.version) == $0.epoch }.map(\.version)
  }
}

extension Substring {
  var trimmingBlanks: Substring {
    var rest = self
    while let first = rest.first, first == " " || first == "\t" { rest = rest.dropFirst() }
    while let last = rest.last, last == " " || last == "\t" { rest = rest.dropLast() }
    return rest
  }
}
