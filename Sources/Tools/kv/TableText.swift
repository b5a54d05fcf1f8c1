/// Columns of equal width for a person, with colours where they are wanted.
struct TableText {
  var hasColors: Bool

  /// - Parameters:
  ///   - columns: their names, in the first line.
  ///   - rows: a cell a column.
  func text(_ columns: [String], _ rows: [[CellText]]) -> String {
    let widths = columns.indices.map { index in
      max(columns[index].count, rows.map { $0[index].text.count }.max() ?? 0)
    }
    func line(_ cells: [CellText]) -> String {
      let parts = cells.indices.map { index in
        // Nothing behind the last one.
        let width = index == cells.indices.last ? 0 : widths[index]
        return paint(padded(cells[index].text, to: width), cells[index].color)
      }
      return "  " + parts.joined(separator: "  ") + "\n"
    }
    let head = line(columns.map { CellText(text: $0, color: .dim) })
    return rows.reduce(head) { $0 + line($1) }
  }

  func padded(_ text: String, to width: Int) -> String {
    text + String(repeating: " ", count: max(0, width - text.count))
  }

  func paint(_ text: String, _ color: CellText.Color) -> String {
    hasColors && color != .plain ? "\u{1B}[\(color.rawValue)m\(text)\u{1B}[0m" : text
  }
}
