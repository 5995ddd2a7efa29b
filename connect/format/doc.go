// Package format turns JSON records into file formats.
//
// Columns collects objects column by column and writes them as one Parquet file. An object that cannot be a row is refused whole;
// what was added before stays. Columns belong to one goroutine. Memory is that of the columns: there is no writer until Encode.
//
// Files: columns.go collects values and widens types, scan.go takes a JSON object apart without decoding it, parquet.go writes the file.
package format
