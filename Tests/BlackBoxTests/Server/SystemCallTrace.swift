import Foundation

/// What strace said, as calls with a beginning and an end in one order.
///
/// A thread stands still while strace notes the end of its call. So where the end of one call is
/// noted before the beginning of another, the first had ended before the second began.
struct SystemCallTrace {
  struct Call {
    var thread: Substring
    var name: Substring
    /// The file or socket of its first argument; what is between < and >.
    var file: Substring
    var text: String
    /// Places in the order of all beginnings and ends.
    var start: Int
    var end: Int
  }

  private(set) var calls: [Call] = []

  /// Reads `THREAD NAME(FD<FILE>, …) = RESULT`, also in two parts: `… <unfinished ...>`, and
  /// `THREAD <... NAME resumed>…`.
  init(_ text: String) {
    var unfinished: [Substring: Call] = [:]
    for (place, line) in text.split(separator: "\n").enumerated() {
      guard let space = line.firstIndex(of: " ") else { continue }
      let thread = line[..<space]
      let rest = line[space...].drop { $0 == " " }
      if rest.hasPrefix("<... ") {
        guard var call = unfinished.removeValue(forKey: thread) else { continue }
        call.text += rest
        call.end = place
        calls.append(call)
      } else if let open = rest.firstIndex(of: "("), !rest.hasPrefix("+"), !rest.hasPrefix("-") {
        let call = Call(
          thread: thread, name: rest[..<open], file: Self.file(rest[open...]), text: String(rest),
          start: place, end: place)
        if rest.hasSuffix("<unfinished ...>") {
          unfinished[thread] = call
        } else {
          calls.append(call)
        }
      }
    }
    calls.sort { $0.start < $1.start }
  }

  private static func file(_ arguments: Substring) -> Substring {
    guard let open = arguments.firstIndex(of: "<") else { return "" }
    return arguments[arguments.index(after: open)...].prefix { $0 != ">" }
  }

  /// Why the answer to the write of a text began before the text was on the disk; nil if it did not.
  ///
  /// The request is read from a socket; after that a write of the text to a segment begins; after
  /// that has ended, a sync of the segment; after that has ended, the answer on the socket.
  func fault(ofAnswerTo text: String) -> String? {
    func first(after place: Int, where matches: (Call) -> Bool) -> Call? {
      calls.first { $0.start > place && matches($0) }
    }
    guard
      let request = calls.first(where: {
        ["read", "recvfrom", "readv"].contains($0.name) && $0.text.contains(text)
      })
    else { return "\(text): its request is not in the trace" }
    guard
      let answer = first(
        after: request.end,
        where: {
          ["write", "writev", "sendto", "sendmsg"].contains($0.name) && $0.file == request.file
        })
    else { return "\(text): its answer is not in the trace" }
    guard
      let write = first(
        after: request.end,
        where: {
          $0.name.hasPrefix("pwrite") && $0.file.hasSuffix(".wal") && $0.text.contains(text)
        })
    else { return "\(text): it is not written to a segment" }
    guard
      let sync = first(
        after: write.end,
        where: { ["fdatasync", "fsync"].contains($0.name) && $0.file == write.file })
    else { return "\(text): it is never synced" }
    guard sync.text.hasSuffix("= 0") else { return "\(text): its sync failed" }
    guard sync.end < answer.start else { return "\(text): it is answered before it is synced" }
    return nil
  }
}
